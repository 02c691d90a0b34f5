//! R41: conversations and free agents that meet at once are matched together.
//!
//! When several conversations and several free agents meet in one decision (a sign-in, a fail-over, the top of the hour), the first
//! `batch_max` conversations in the order are taken as rows, and the room of the agents who are best for them as columns. Then:
//!
//! 1. As many as possible are matched, and none is left out for one after it in the order: each in turn is kept if there is an
//!    augmenting path for it (H. W. Kuhn, "The Hungarian method for the assignment problem", 1955; what can be matched together is
//!    a transversal matroid, so taking in order gives the greatest number, too).
//! 2. Of all ways to match those, one with the greatest sum of [`points`] (Kuhn and Munkres, of the crate `pathfinding`).
//!
//! One by one, the same conversations would each take the best agent left; the difference in points is what an explanation
//! shows. Columns: with n rows, a row needs no more than its n best agents, for the others take at most n − 1 of them. An agent
//! is as many columns as conversations fit, when all that they could be given here is of one channel; else one, and what is left
//! is matched next. Should one by one match more (which takes several channels), it is done one by one.
//!
//! Cost: n = `batch_max` looks for the first and for its n best, each as for a single decision; at most n² columns, on each of
//! which room is reserved and given back once; O(n² × columns) steps to match. A conversation that meets nobody, or that is
//! alone, or an agent who is alone, is decided as ever.

use std::collections::VecDeque;
use std::sync::Arc;

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

use super::best::{Best, Rank};
use super::choice::Choice;
use super::index::{Index, SharedChannel};
use crate::command::Explanation;
use crate::ids::Millis;
use crate::settings::AgentChoice;

/// What one level of a skill asked for is worth; a place in the queue's choice is worth 1, and there are at most 64.
const LEVEL_POINTS: i64 = 64;
/// Below any sum of points.
const IMPOSSIBLE: i64 = -(1 << 40);

/// A conversation taken out of its order, and who is best for it.
#[derive(Debug)]
struct Row {
    class: u32,
    slot: u32,
    expedited: bool,
    channel: SharedChannel,
    by_skill: bool,
    best: Vec<Rank>,
}

/// Room at an agent.
#[derive(Debug)]
struct Room {
    agent: u32,
    /// Columns from here.
    first: usize,
    count: usize,
}

/// Which rank of each row's best is chosen.
type Matching = Vec<Option<usize>>;

/// How good the `at`-th best is for a row of which the `wanted` best were looked for.
fn points(row: &Row, at: usize, wanted: usize) -> i64 {
    let levels = if row.by_skill { row.best[at].levels() } else { 0 };
    levels * LEVEL_POINTS + (wanted - at) as i64
}

fn sum(rows: &[Row], matching: &Matching, wanted: usize) -> i64 {
    let chosen = rows.iter().zip(matching);
    chosen
        .filter_map(|(row, at)| at.map(|at| points(row, at, wanted)))
        .sum()
}

fn matched(matching: &Matching) -> usize {
    matching.iter().flatten().count()
}

/// A batch's gain in as many parts, which add up to it: so do reports, of whichever of its choices come into force.
fn parts(gain: u32, count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(move |place| gain / count + u32::from(place < gain % count))
}

impl Index {
    /// Decisions of conversations matched together, at most `most`; empty when there are not two that meet two agents.
    pub(super) fn next_batch(&mut self, now_ms: Millis, most: usize, explained: bool) -> VecDeque<Choice> {
        let wanted = most.min(usize::from(self.routing.batch_max));
        if wanted < 2 || !self.two_agents_free() || !self.two_wait() {
            return VecDeque::new();
        }
        let passes = self.passes();
        let rows = self.take_rows(now_ms, wanted);
        self.put_passes(passes);
        let (matching, gain) = self.match_rows(&rows, wanted);
        if matched(&matching) < 2 {
            rows.iter().for_each(|row| self.put_back(row));
            return VecDeque::new();
        }
        let (count, mut choices) = (matched(&matching), VecDeque::new());
        let mut parts = parts(gain, count as u32);
        let explanations = rows.iter().zip(&matching).map(|(row, at)| match at {
            Some(_) if explained => {
                let mut explanation = self.explanation(row.slot, &row.best, now_ms);
                explanation.tie_break.push_str("; best for all of a batch");
                explanation.batch = count as u8;
                explanation.batch_gain = parts.next().unwrap_or(0);
                explanation
            }
            _ => Explanation::default(),
        });
        let explanations: Vec<Explanation> = explanations.collect();
        for ((row, at), explanation) in rows.iter().zip(&matching).zip(explanations) {
            match at {
                None => self.put_back(row),
                Some(at) => {
                    let rank = row.best[*at];
                    let queue = self.queue_of_class[row.class as usize];
                    self.charge(queue, row.expedited);
                    if self.classes[row.class].key.only.is_none() {
                        self.queues[queue as usize].last_turn = Some(rank.id);
                    }
                    let paced = self.classes[row.class].key.only.is_none();
                    self.reserve_for(rank.agent, &row.channel, paced);
                    choices.push_back(Choice {
                        conversation: self.waiting[row.slot].conversation,
                        agent: rank.id,
                        others: Box::default(),
                        channel: Arc::clone(&row.channel),
                        paced,
                        explanation,
                    });
                }
            }
        }
        choices
    }

    fn two_agents_free(&self) -> bool {
        let free = self
            .free_pools
            .iter()
            .flat_map(|pool| self.pools[pool].by_idle.iter().take(2));
        let mut ids = free.map(|(_, id, _)| *id);
        ids.next().is_some_and(|first| ids.any(|id| id != first))
    }

    /// Whether two conversations wait that may have somebody free.
    fn two_wait(&self) -> bool {
        let mut found = 0;
        (0..self.nonempty.word_count()).any(|word| {
            for class in self.hopeful(word) {
                found += self.classes[class].order.len().min(2);
                if found >= 2 {
                    return true;
                }
            }
            false
        })
    }

    /// Takes the first conversations that somebody is free for out of the order.
    fn take_rows(&mut self, now_ms: Millis, wanted: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        while rows.len() < wanted {
            let Some(class) = self.first_class(now_ms) else { break };
            // R9: offered to several, it is decided by itself.
            if self.queues[self.queue_of_class[class as usize] as usize].at_once > 1 {
                break;
            }
            let mut best = Best::of(wanted);
            self.best_agents(class, &mut best);
            let Some(&(_, slot)) = self.classes[class].order.first() else {
                break;
            };
            if best.ranks().is_empty() {
                self.in_vain(class);
                continue;
            }
            let spec = &self.specs[self.classes[class].key.spec];
            let queue = spec.key.queue;
            let by_skill = self.queues[queue as usize].choice == AgentChoice::MostSkilled;
            rows.push(Row {
                class,
                slot,
                expedited: self.waiting[slot].expedited,
                channel: Arc::clone(&spec.key.channel),
                by_skill: by_skill && self.classes[class].key.only.is_none(),
                best: best.ranks().to_vec(),
            });
            self.charge(queue, self.waiting[slot].expedited);
            self.pop_head(class);
            self.waiting[slot].proposed = true;
        }
        rows
    }

    fn put_back(&mut self, row: &Row) {
        let conversation = self.waiting[row.slot].conversation;
        self.withhold(conversation, |waiting| waiting.proposed = false);
    }

    /// The best matching, and by how many points it is better than one by one.
    fn match_rows(&mut self, rows: &[Row], wanted: usize) -> (Matching, u32) {
        let one_by_one = self.match_one_by_one(rows);
        let rooms = self.rooms(rows);
        let together = match_together(rows, &rooms, wanted);
        if matched(&together) < matched(&one_by_one) {
            return (one_by_one, 0);
        }
        let gain = sum(rows, &together, wanted) - sum(rows, &one_by_one, wanted);
        (together, u32::try_from(gain).unwrap_or(0))
    }

    /// Each in turn the best who is left.
    fn match_one_by_one(&mut self, rows: &[Row]) -> Matching {
        let mut matching = Matching::new();
        for row in rows {
            let at = row.best.iter().position(|rank| self.is_free_for(rank.agent, row));
            if let Some(at) = at {
                let paced = self.classes[row.class].key.only.is_none();
                self.reserve_for(row.best[at].agent, &row.channel, paced);
            }
            matching.push(at);
        }
        for (row, at) in rows.iter().zip(&matching) {
            if let Some(at) = at {
                self.unreserve_for(
                    row.best[*at].agent,
                    &row.channel,
                    self.classes[row.class].key.only.is_none(),
                );
            }
        }
        matching
    }

    fn is_free_for(&self, agent: u32, row: &Row) -> bool {
        let agent = &self.agents[agent];
        let slot = self.profiles[agent.profile].channel(&row.channel);
        slot.is_some_and(|slot| agent.is_free(slot))
    }

    /// The agents of all rows in the order in which the rows name them, with their columns.
    fn rooms(&mut self, rows: &[Row]) -> Vec<Room> {
        // By agent: who could be given what.
        let mut named: Vec<(u32, Vec<usize>)> = Vec::new();
        let mut at_of = std::collections::BTreeMap::new();
        for (number, row) in rows.iter().enumerate() {
            for rank in &row.best {
                let at = *at_of.entry(rank.agent).or_insert_with(|| {
                    named.push((rank.agent, Vec::new()));
                    named.len() - 1
                });
                named[at].1.push(number);
            }
        }
        let mut first = 0;
        let rooms = named.into_iter().map(|(agent, by_rows)| {
            let one = &rows[by_rows[0]];
            let same = by_rows.iter().all(|&row| rows[row].channel == one.channel);
            let count = if same {
                self.fitting(agent, one, by_rows.len())
            } else {
                1
            };
            first += count;
            Room {
                agent,
                first: first - count,
                count,
            }
        });
        rooms.collect()
    }

    /// How many of the row's channel fit, up to `most`: by trying.
    fn fitting(&mut self, agent: u32, row: &Row, most: usize) -> usize {
        let mut count = 0;
        while count < most && self.is_free_for(agent, row) {
            let paced = self.classes[row.class].key.only.is_none();
            self.reserve_for(agent, &row.channel, paced);
            count += 1;
        }
        for _ in 0..count {
            self.unreserve_for(agent, &row.channel, self.classes[row.class].key.only.is_none());
        }
        count
    }
}

fn match_together(rows: &[Row], rooms: &[Room], wanted: usize) -> Matching {
    let columns = rooms.last().map_or(0, |room| room.first + room.count);
    let room_of = |rank: &Rank| rooms.iter().position(|room| room.agent == rank.agent);
    // By row and column: which of the row's best.
    let mut edges = vec![vec![None; columns]; rows.len()];
    for (row, edges) in rows.iter().zip(&mut edges) {
        for (at, rank) in row.best.iter().enumerate() {
            if let Some(room) = room_of(rank).map(|room| &rooms[room]) {
                edges[room.first..room.first + room.count].fill(Some(at));
            }
        }
    }
    let mut row_of = vec![None; columns];
    let kept: Vec<usize> = (0..rows.len())
        .filter(|&row| augment(row, &edges, &mut row_of, &mut vec![false; columns]))
        .collect();
    let mut matching = vec![None; rows.len()];
    if kept.is_empty() {
        return matching;
    }
    let weights = Matrix::from_fn(kept.len(), columns, |(row, column)| {
        edges[kept[row]][column].map_or(IMPOSSIBLE, |at| points(&rows[kept[row]], at, wanted))
    });
    let (_, assigned) = kuhn_munkres(&weights);
    for (&row, column) in kept.iter().zip(assigned) {
        matching[row] = edges[row][column];
    }
    matching
}

/// Finds a column for the row, moving others to other columns where needed. Whoever has one keeps one.
fn augment(row: usize, edges: &[Vec<Option<usize>>], row_of: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for column in 0..row_of.len() {
        if edges[row][column].is_none() || std::mem::replace(&mut seen[column], true) {
            continue;
        }
        if row_of[column].is_none_or(|other| augment(other, edges, row_of, seen)) {
            row_of[column] = Some(row);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn parts_of_a_gain_add_up_to_it() {
        for (gain, count) in [(518, 3), (0, 2), (1, 64), (u32::MAX, 7)] {
            let parts: Vec<u32> = parts(gain, count).collect();
            assert_eq!(parts.len(), count as usize);
            assert_eq!(parts.iter().map(|part| u64::from(*part)).sum::<u64>(), u64::from(gain));
            assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
        }
    }
}
