//! Shard 0: which tenants there are and in which shard, whose keys sign whose tokens, where nodes are reached.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::Arc;

use cluster::codec;
use cluster::state_machine::{Applied, Batch, SnapshotWriter, StateMachine};
use parking_lot::RwLock;
use routing::ids::TenantId;
use routing::rejection::Rejection;
use serde::{Deserialize, Serialize};

use crate::limits::REQUEST_MAX_BYTES;

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

/// Input to shard 0's log. Variants are append-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum DirectoryCommand {
    /// Makes a tenant in the shard with the fewest (of 1..=shards), or renames it.
    PutTenant {
        tenant: TenantId,
        name: String,
        shards: u32,
    },
    PutKey {
        tenant: TenantId,
        key: TenantKey,
    },
    RemoveKey {
        tenant: TenantId,
        kid: String,
    },
    /// A node says where clients reach it.
    PutNode {
        node: u64,
        url: String,
    },
    RemoveNode {
        node: u64,
    },
    SetDraining {
        node: u64,
        draining: bool,
    },
}

/// What shard 0 answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryReply {
    /// Done.
    Done,
    /// The tenant's place.
    Placed(TenantPlace),
    /// Refused.
    Refused(Rejection),
}

impl DirectoryState {
    /// Applies one command.
    pub fn apply(&mut self, command: DirectoryCommand) -> DirectoryReply {
        match command {
            DirectoryCommand::PutTenant { tenant, name, shards } => self.put_tenant(tenant, name, shards),
            DirectoryCommand::PutKey { tenant, key } => self.put_key(tenant, key),
            DirectoryCommand::RemoveKey { tenant, kid } => {
                if self.keys.get(&kid).is_none_or(|(owner, _)| *owner != tenant) {
                    return DirectoryReply::Refused(Rejection::Invalid {
                        what: "kid".into(),
                        why: format!("the tenant has no key `{kid}`"),
                    });
                }
                self.keys.remove(&kid);
                DirectoryReply::Done
            }
            DirectoryCommand::PutNode { node, url } => {
                self.nodes.insert(node, url);
                self.draining.remove(&node);
                DirectoryReply::Done
            }
            DirectoryCommand::RemoveNode { node } => {
                self.nodes.remove(&node);
                self.draining.remove(&node);
                DirectoryReply::Done
            }
            DirectoryCommand::SetDraining { node, draining } => {
                if draining {
                    self.draining.insert(node);
                } else {
                    self.draining.remove(&node);
                }
                DirectoryReply::Done
            }
        }
    }

    fn put_tenant(&mut self, tenant: TenantId, name: String, shards: u32) -> DirectoryReply {
        if let Some(place) = self.tenants.get_mut(&tenant) {
            place.name = name;
            return DirectoryReply::Placed(place.clone());
        }
        let mut held = vec![0usize; shards.max(1) as usize];
        for place in self.tenants.values() {
            if let Some(count) = held.get_mut(place.shard as usize - 1) {
                *count += 1;
            }
        }
        let fewest = held
            .iter()
            .enumerate()
            .min_by_key(|&(_, count)| count)
            .map_or(0, |(at, _)| at);
        let place = TenantPlace {
            tenant,
            name,
            shard: fewest as u32 + 1,
            epoch: 1,
        };
        self.tenants.insert(tenant, place.clone());
        DirectoryReply::Placed(place)
    }

    fn put_key(&mut self, tenant: TenantId, key: TenantKey) -> DirectoryReply {
        if !self.tenants.contains_key(&tenant) {
            return DirectoryReply::Refused(Rejection::UnknownTenant);
        }
        if self.keys.get(&key.kid).is_some_and(|(owner, _)| *owner != tenant) {
            return DirectoryReply::Refused(Rejection::AlreadyExists {
                what: format!("key `{}`", key.kid),
            });
        }
        self.keys.insert(key.kid.clone(), (tenant, key));
        DirectoryReply::Done
    }
}

/// The directory as a cluster state machine. Readers share `state`; it is replaced whole with every batch.
pub struct DirectoryHost {
    state: SharedDirectory,
    digest: u64,
}

/// The applied directory, for readers.
pub type SharedDirectory = Arc<RwLock<Arc<DirectoryState>>>;

/// Version of the snapshot's format.
const DIRECTORY_SCHEMA: u16 = 1;

impl DirectoryHost {
    /// A host whose readers share `state`.
    pub fn new(state: SharedDirectory) -> Self {
        Self { state, digest: 0 }
    }
}

impl StateMachine for DirectoryHost {
    fn apply(&mut self, batch: Batch<'_>) -> Applied {
        let mut next = DirectoryState::clone(&self.state.read());
        let mut applied = Applied::default();
        for bytes in batch.commands {
            let reply = match codec::decode(bytes, REQUEST_MAX_BYTES) {
                Ok(command) => next.apply(command),
                Err(_) => DirectoryReply::Refused(Rejection::UnsupportedVersion(0)),
            };
            let reply = codec::encode(&reply);
            let mut chain = xxh3(&self.digest.to_le_bytes(), bytes);
            chain = xxh3(&chain.to_le_bytes(), &reply);
            self.digest = chain;
            applied.replies.push(reply);
        }
        *self.state.write() = Arc::new(next);
        applied
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let (state, digest) = (self.state.read().clone(), self.digest);
        Box::new(move |to| to.write_all(&codec::encode(&(DIRECTORY_SCHEMA, digest, &*state))))
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes)?;
        let (schema, digest, state): (u16, u64, DirectoryState) =
            codec::decode(&bytes, usize::MAX >> 1).map_err(io::Error::other)?;
        if schema != DIRECTORY_SCHEMA {
            return Err(io::Error::other(format!(
                "directory snapshot of format {schema}; this node reads {DIRECTORY_SCHEMA}"
            )));
        }
        self.digest = digest;
        *self.state.write() = Arc::new(state);
        Ok(())
    }
}

fn xxh3(first: &[u8], then: &[u8]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    hasher.update(first);
    hasher.update(then);
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_spread_over_the_shards_and_keep_their_place() {
        let mut directory = DirectoryState::default();
        let put = |directory: &mut DirectoryState, n: u128| match directory.apply(DirectoryCommand::PutTenant {
            tenant: TenantId(n),
            name: "t".into(),
            shards: 2,
        }) {
            DirectoryReply::Placed(place) => place.shard,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            [put(&mut directory, 1), put(&mut directory, 2), put(&mut directory, 3)],
            [1, 2, 1]
        );
        assert_eq!(put(&mut directory, 2), 2);
    }

    #[test]
    fn a_key_belongs_to_one_tenant() {
        let mut directory = DirectoryState::default();
        for n in [1, 2] {
            directory.apply(DirectoryCommand::PutTenant {
                tenant: TenantId(n),
                name: "t".into(),
                shards: 1,
            });
        }
        let key = TenantKey {
            kid: "k".into(),
            algorithm: KeyAlgorithm::Hs256,
            material: "s".into(),
        };
        let put = |tenant| DirectoryCommand::PutKey {
            tenant: TenantId(tenant),
            key: key.clone(),
        };
        assert_eq!(directory.apply(put(1)), DirectoryReply::Done);
        assert!(matches!(
            directory.apply(put(2)),
            DirectoryReply::Refused(Rejection::AlreadyExists { .. })
        ));
        assert!(matches!(
            directory.apply(put(9)),
            DirectoryReply::Refused(Rejection::UnknownTenant)
        ));
    }
}
