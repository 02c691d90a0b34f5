//! Shard 0: which tenants there are and in which shard, whose keys sign whose tokens, where nodes are reached.

use std::collections::BTreeMap;

use routing::ids::TenantId;
use serde::{Deserialize, Serialize};

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256; the key is a shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// Ed25519; the key is a public key, PEM.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// A key that verifies a tenant's tokens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantKey {
    /// Key id, unique in the cluster.
    pub kid: String,
    /// Its only algorithm.
    pub algorithm: KeyAlgorithm,
    /// The secret (HS256: at least 32 bytes) or the public key (EdDSA: PEM).
    pub material: String,
}

impl std::fmt::Debug for TenantKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TenantKey({}, {:?}, redacted)", self.kid, self.algorithm)
    }
}

/// A tenant's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantPlace {
    /// Which.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// The shard that holds it.
    pub shard: u32,
    /// Grows when it moves.
    pub epoch: u64,
}

/// What the directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryState {
    /// Tenants.
    pub tenants: BTreeMap<TenantId, TenantPlace>,
    /// Keys by kid.
    pub keys: BTreeMap<String, (TenantId, TenantKey)>,
    /// Public addresses (URL) of nodes, by node id.
    pub nodes: BTreeMap<u64, String>,
    /// Nodes that drain: clients are not sent there.
    pub draining: std::collections::BTreeSet<u64>,
}
