//! The state machine of the simulation: remembers every command, and tells the oracle.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::oracle::{CommandId, Oracle};
use cluster::state_machine::{Applied, Batch, Row, SnapshotWriter, StateMachine};

/// So many bytes of nothing make a snapshot travel in three chunks.
const PADDING: usize = 2_200_000;

pub(super) struct Ledger {
    node: u64,
    oracle: Oracle,
    /// Cleared when the node crashes: what a dead process still does in memory is nobody's business.
    lives: Arc<AtomicBool>,
    is_large: bool,
    commands: BTreeSet<CommandId>,
    digest: u64,
    at_ms: u64,
}

impl Ledger {
    pub(super) fn new(node: u64, oracle: Oracle, lives: Arc<AtomicBool>, is_large: bool) -> Self {
        Self {
            node,
            oracle,
            lives,
            is_large,
            commands: BTreeSet::new(),
            digest: 0,
            at_ms: 0,
        }
    }

    fn is_alive(&self) -> bool {
        self.lives.load(Ordering::Relaxed)
    }
}

impl StateMachine for Ledger {
    fn apply(&mut self, batch: Batch<'_>) -> Applied {
        let mut applied = Applied::default();
        let mut ids = Vec::new();
        for command in batch.commands {
            let id = CommandId::from_le_bytes(command[..8].try_into().expect("the simulation's commands are 8 bytes"));
            self.commands.insert(id);
            self.digest = (self.digest ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17) ^ batch.index;
            let value = Some(Bytes::from(batch.index.to_le_bytes().to_vec()));
            applied.rows.push(Row {
                table: 0,
                key: command.to_vec(),
                value,
            });
            applied.replies.push(Bytes::new());
            ids.push(id);
        }
        if self.is_alive() {
            if batch.at_ms < self.at_ms {
                let (node, index) = (self.node, batch.index);
                self.oracle
                    .violated(format!("time: node {node}: the log's time went back at {index}"));
            }
            self.oracle
                .applied(self.node, batch.index, batch.term, self.digest, &ids);
        }
        self.at_ms = batch.at_ms;
        applied
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn snapshot(&mut self) -> SnapshotWriter {
        let (commands, digest, at_ms) = (self.commands.clone(), self.digest, self.at_ms);
        let padding = if self.is_large { PADDING } else { 0 };
        Box::new(move |out| {
            for word in [digest, at_ms, commands.len() as u64] {
                out.write_all(&word.to_le_bytes())?;
            }
            commands.iter().try_for_each(|id| out.write_all(&id.to_le_bytes()))?;
            out.write_all(&vec![0; padding])
        })
    }

    fn restore(&mut self, from: &mut dyn Read) -> io::Result<()> {
        let mut word = || {
            let mut bytes = [0; 8];
            from.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
        };
        self.digest = word()?;
        self.at_ms = word()?;
        let count = word()?;
        self.commands = (0..count).map(|_| word()).collect::<io::Result<_>>()?;
        io::copy(from, &mut io::sink())?;
        if self.is_alive() {
            self.oracle.restored(self.node, self.commands.clone());
        }
        Ok(())
    }

    fn restored_at(&mut self, index: u64) {
        if index == 0 && self.is_alive() {
            self.oracle.restored(self.node, BTreeSet::new());
        }
    }
}
