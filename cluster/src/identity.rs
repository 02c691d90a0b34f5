//! Which cluster a node belongs to, which replicas it has, and where the others are; kept in one small file.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::environment::IdentityFile;
use crate::state_machine::ShardId;
use crate::status::ClusterId;
use crate::transport::{NodeId, PeerAddress};

const SCHEMA: u16 = 1;
const MAX_BYTES: usize = 1 << 20;

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Membership {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) shards: BTreeSet<ShardId>,
    pub(crate) nodes: BTreeMap<NodeId, PeerAddress>,
}

/// The identity of one node.
pub(crate) struct Identity {
    file: Arc<dyn IdentityFile>,
    known: Mutex<Option<Membership>>,
}

impl Identity {
    pub(crate) fn load(file: Arc<dyn IdentityFile>) -> io::Result<Self> {
        let known = match file.load()? {
            None => None,
            Some(bytes) => {
                let unreadable = |what: String| io::Error::new(io::ErrorKind::InvalidData, format!("identity: {what}"));
                let (schema, known): (u16, Membership) =
                    codec::decode(&bytes, MAX_BYTES).map_err(|error| unreadable(error.to_string()))?;
                if schema != SCHEMA {
                    return Err(unreadable(format!("schema {schema}")));
                }
                Some(known)
            }
        };
        Ok(Self {
            file,
            known: Mutex::new(known),
        })
    }

    pub(crate) fn get(&self) -> Option<Membership> {
        self.known.lock().clone()
    }

    /// Replaces it on disk, then in memory; does nothing when nothing changes.
    pub(crate) fn set(&self, wanted: Membership) -> io::Result<()> {
        let mut known = self.known.lock();
        if known.as_ref() != Some(&wanted) {
            self.file.save(&codec::encode(&(SCHEMA, &wanted)))?;
            *known = Some(wanted);
        }
        Ok(())
    }
}
