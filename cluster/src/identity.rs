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
/// Begins a file with a checksum (CRC-32 of all that follows it). The first builds wrote none, and began otherwise.
const WITH_CHECKSUM: &[u8; 4] = b"KAID";
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
                let content = checked(&bytes).map_err(unreadable)?;
                let (schema, known): (u16, Membership) =
                    codec::decode(content, MAX_BYTES).map_err(|error| unreadable(error.to_string()))?;
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
            let content = codec::encode(&(SCHEMA, &wanted));
            let mut bytes = WITH_CHECKSUM.to_vec();
            bytes.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
            bytes.extend_from_slice(&content);
            self.file.save(&bytes)?;
            *known = Some(wanted);
        }
        Ok(())
    }
}

/// What follows the checksum, if it fits.
fn checked(bytes: &[u8]) -> Result<&[u8], String> {
    let Some(rest) = bytes.strip_prefix(WITH_CHECKSUM) else {
        return Ok(bytes);
    };
    match rest.split_first_chunk() {
        Some((sum, content)) if u32::from_le_bytes(*sum) == crc32fast::hash(content) => Ok(content),
        _ => Err(
            "damaged, its checksum does not fit: restore the file, or replace this node by one with a new id"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct InMemory(Mutex<Option<bytes::Bytes>>);

    impl IdentityFile for InMemory {
        fn load(&self) -> io::Result<Option<bytes::Bytes>> {
            Ok(self.0.lock().clone())
        }

        fn save(&self, bytes: &[u8]) -> io::Result<()> {
            *self.0.lock() = Some(bytes::Bytes::copy_from_slice(bytes));
            Ok(())
        }
    }

    fn membership() -> Membership {
        Membership {
            node: NodeId(1),
            cluster: ClusterId(7),
            shards: BTreeSet::from([ShardId(0), ShardId(1)]),
            nodes: BTreeMap::new(),
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let file = Arc::new(InMemory::default());
        Identity::load(file.clone()).unwrap().set(membership()).unwrap();
        assert_eq!(Identity::load(file.clone()).unwrap().get(), Some(membership()));
        let whole = file.load().unwrap().unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            file.save(&damaged).unwrap();
            assert!(Identity::load(file.clone()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_file_of_the_first_builds_is_read() {
        let file = Arc::new(InMemory::default());
        file.save(&codec::encode(&(SCHEMA, &membership()))).unwrap();
        assert_eq!(Identity::load(file).unwrap().get(), Some(membership()));
    }
}
