//! Clients: they propose through any node that runs, and read through another.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::world::{Life, SHARD, World, pause};
use cluster::error::ProposeError;
use cluster::shards::Lane;

const CLIENTS: u64 = 3;
const DEADLINE: Duration = Duration::from_secs(2);

impl World {
    pub(super) fn run_clients(&self) {
        for client in 0..CLIENTS {
            tokio::spawn(self.clone().client(client));
        }
    }

    async fn client(self, client: u64) {
        let mut random = SmallRng::seed_from_u64(self.settings.seed.wrapping_mul(31) + client);
        while self.clients_run.load(Ordering::Relaxed) {
            pause(&mut random, 1..30).await;
            if let Some(life) = self.life(self.any_node(&mut random, 0.0)) {
                self.propose(&life, client).await;
            }
            if random.random_bool(0.3) {
                self.read(self.any_node(&mut random, 0.2)).await;
            }
        }
    }

    /// Proposes a command; says whether it was acknowledged. What a process answers after its death, nobody hears.
    pub(super) async fn propose(&self, life: &Life, client: u64) -> bool {
        let command = self.next_command.fetch_add(1, Ordering::Relaxed) << 8 | client;
        self.oracle.proposes(command);
        let body = Bytes::copy_from_slice(&command.to_le_bytes());
        let proposed = life.shards.propose(SHARD, client, Lane::Client, body, DEADLINE).await;
        let is_heard = life.lives.load(Ordering::Relaxed);
        let is_acknowledged = is_heard && proposed.is_ok();
        match proposed {
            Ok(proposed) if is_heard => self.oracle.acknowledged(command, proposed.index),
            Err(ProposeError::OutcomeUnknown) => self.oracle.outcome_unknown(command),
            Err(_) if is_heard => self.oracle.refused(command),
            Ok(_) | Err(_) => self.oracle.outcome_unknown(command),
        }
        is_acknowledged
    }

    async fn read(&self, node: u64) {
        let before = self.oracle.read_begins();
        let Some(life) = self.life(node) else {
            return;
        };
        let read = life.shards.read_barrier(SHARD, DEADLINE).await;
        if let Ok(index) = read
            && life.lives.load(Ordering::Relaxed)
        {
            self.oracle.read_ends(node, before, index);
        }
    }
}
