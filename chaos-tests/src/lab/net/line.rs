//! What befalls the packets of one line, one way. Pure: it is told the time and returns when a packet is due.

use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::Line;

/// How a line is disturbed. All zero is a line without fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disturbance {
    /// Of 1000 packets, so many are lost.
    pub loss_permille: u16,
    /// Of 1000 packets, so many arrive twice.
    pub duplicate_permille: u16,
    /// Of 1000 packets, so many are held back so that later ones overtake them.
    pub reorder_permille: u16,
    /// For so long.
    pub reorder_ms: u32,
    /// Every packet takes so long.
    pub delay_ms: u32,
    /// And up to so much more or less, by chance. Packets stay in their order: only reordering changes it.
    pub jitter_ms: u32,
    /// No more passes than so much; 0 is no limit.
    pub rate_kib_s: u32,
    /// So many packets are under way at most. Those that find no room are dropped and counted as overflow.
    pub queue_packets: u32,
}

impl Default for Disturbance {
    fn default() -> Self {
        Self {
            loss_permille: 0,
            duplicate_permille: 0,
            reorder_permille: 0,
            reorder_ms: 10,
            delay_ms: 0,
            jitter_ms: 0,
            rate_kib_s: 0,
            queue_packets: 2048,
        }
    }
}

/// What has befallen the packets of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Came in.
    pub came: u64,
    /// Went out at the other end, copies included.
    pub passed: u64,
    /// Bytes of those.
    pub passed_bytes: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Went out later than they came in.
    pub delayed: u64,
    /// Came out twice.
    pub duplicated: u64,
    /// Came out after a packet that had come in later.
    pub reordered: u64,
    /// The device at the other end would not have them.
    pub refused: u64,
}

/// What becomes of a packet: when it is due, once or twice, or never.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// Its number in its line.
    pub number: u64,
    /// When it goes out.
    pub due: Option<Instant>,
    /// And a second time right behind.
    pub twice: bool,
}

pub(super) struct LineState {
    random: ChaCha8Rng,
    disturbance: Disturbance,
    /// Packets under way.
    waiting: u32,
    last_due: Option<Instant>,
    /// Until when the rate keeps the line busy.
    busy_until: Option<Instant>,
    passed_max: u64,
    tally: Tally,
}

impl LineState {
    pub fn new((from, to): Line, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(u64::from(from.octet()) << 8 | u64::from(to.octet()));
        Self {
            random,
            disturbance: Disturbance::default(),
            waiting: 0,
            last_due: None,
            busy_until: None,
            passed_max: 0,
            tally: Tally::default(),
        }
    }

    pub fn disturb(&mut self, disturbance: Disturbance) {
        self.busy_until = None; // the debts of a slower line
        self.disturbance = disturbance;
    }

    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Decides about the next packet. Each packet takes the same number of draws whatever the disturbance: the fate of the
    /// thousandth depends on the seed and the disturbance alone, not on what was wrong before.
    pub fn decide(&mut self, now: Instant, bytes: usize) -> Fate {
        let [loss, duplicate, reorder, jitter] = std::array::from_fn(|_| self.random.next_u32());
        self.tally.came += 1;
        let number = self.tally.came;
        let how = &self.disturbance;
        let lost = happens(loss, how.loss_permille);
        let twice = happens(duplicate, how.duplicate_permille);
        let room = how.queue_packets.saturating_sub(self.waiting);
        if lost || room < 1 + u32::from(twice) {
            *(if lost {
                &mut self.tally.lost
            } else {
                &mut self.tally.overflowed
            }) += 1;
            let (due, twice) = (None, false);
            return Fate { number, due, twice };
        }
        let sent = self.sent_at(now, bytes);
        let how = &self.disturbance;
        let mut due = (sent + delay(how, jitter)).max(self.last_due.unwrap_or(now));
        if happens(reorder, how.reorder_permille) {
            due += millis(how.reorder_ms); // and those behind it do not wait for it
        } else {
            self.last_due = Some(due);
        }
        self.waiting += 1 + u32::from(twice);
        self.tally.delayed += u64::from(due > now);
        self.tally.duplicated += u64::from(twice);
        Fate {
            number,
            due: Some(due),
            twice,
        }
    }

    /// A packet went out, or was refused at the other end.
    pub fn went_out(&mut self, number: u64, bytes: usize, accepted: bool) {
        self.waiting -= 1;
        if !accepted {
            self.tally.refused += 1;
            return;
        }
        self.tally.passed += 1;
        self.tally.passed_bytes += bytes as u64;
        self.tally.reordered += u64::from(number < self.passed_max);
        self.passed_max = self.passed_max.max(number);
    }

    /// When its last byte has been sent.
    fn sent_at(&mut self, now: Instant, bytes: usize) -> Instant {
        let rate = u64::from(self.disturbance.rate_kib_s) * 1024;
        let Some(nanos) = (bytes as u64 * 1_000_000_000).checked_div(rate) else {
            return now;
        };
        let begin = self.busy_until.map_or(now, |until| until.max(now));
        let end = begin + Duration::from_nanos(nanos);
        self.busy_until = Some(end);
        end
    }
}

fn happens(drawn: u32, permille: u16) -> bool {
    u64::from(drawn) * 1000 < u64::from(permille) << 32
}

/// Evenly between `delay - jitter` and `delay + jitter`.
fn delay(how: &Disturbance, drawn: u32) -> Duration {
    let width_us = u64::from(how.jitter_ms) * 2_000;
    let above_us = (u64::from(drawn) * width_us) >> 32;
    (millis(how.delay_ms) + Duration::from_micros(above_us)).saturating_sub(millis(how.jitter_ms))
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(u64::from(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::net::Host;

    const LINE: Line = (Host::Node(1), Host::Node(2));

    fn line(seed: u64, disturbance: Disturbance) -> LineState {
        let mut line = LineState::new(LINE, seed);
        line.disturb(disturbance);
        line
    }

    /// What befalls so many packets, one each millisecond, that go out when they are due; how late each is.
    fn fates(line: &mut LineState, many: u32) -> Vec<Option<Duration>> {
        let begin = Instant::now();
        let mut out = Vec::new();
        let late = (0..many).map(|n| {
            let now = begin + millis(n);
            let fate = line.decide(now, 1000);
            out.extend(fate.due.map(|due| (due, fate.number)));
            if fate.twice {
                out.extend(fate.due.map(|due| (due, fate.number)));
            }
            fate.due.map(|due| due - now)
        });
        let late = late.collect();
        out.sort();
        for (_, number) in out {
            line.went_out(number, 1000, true);
        }
        late
    }

    #[test]
    fn a_seed_names_what_befalls_a_line() {
        let how = Disturbance {
            loss_permille: 100,
            delay_ms: 30,
            jitter_ms: 20,
            ..Disturbance::default()
        };
        let once = fates(&mut line(7, how.clone()), 500);
        assert_eq!(once, fates(&mut line(7, how.clone()), 500));
        assert_ne!(once, fates(&mut line(8, how.clone()), 500));
        let mut back = LineState::new((LINE.1, LINE.0), 7);
        back.disturb(how);
        assert_ne!(once, fates(&mut back, 500), "the way back has a fate of its own");
    }

    #[test]
    fn chances_are_met_and_delay_stays_in_its_bounds() {
        let how = Disturbance {
            loss_permille: 100,
            duplicate_permille: 50,
            delay_ms: 30,
            jitter_ms: 20,
            queue_packets: u32::MAX,
            ..Disturbance::default()
        };
        let mut line = line(1, how);
        let late: Vec<_> = fates(&mut line, 10_000).into_iter().flatten().collect();
        let tally = line.tally();
        assert!((900..1100).contains(&tally.lost), "{tally:?}");
        assert!((400..520).contains(&tally.duplicated), "{tally:?}");
        assert_eq!(tally.passed, 10_000 - tally.lost + tally.duplicated);
        assert_eq!(
            (tally.reordered, tally.overflowed, line.waiting),
            (0, 0, 0),
            "jitter keeps the order"
        );
        let (least, most) = (late.iter().min().unwrap(), late.iter().max().unwrap());
        assert!(*least >= millis(10) && *most <= millis(50), "{least:?} to {most:?}");
    }

    #[test]
    fn who_is_held_back_is_overtaken() {
        let how = Disturbance {
            reorder_permille: 100,
            reorder_ms: 5,
            ..Disturbance::default()
        };
        let mut line = line(1, how);
        fates(&mut line, 1000);
        let tally = line.tally();
        assert!((60..140).contains(&tally.reordered), "{tally:?}");
        assert_eq!(tally.passed, 1000);
    }

    #[test]
    fn a_rate_spreads_packets_and_a_full_queue_drops() {
        let how = Disturbance {
            rate_kib_s: 100,
            queue_packets: 10,
            ..Disturbance::default()
        };
        let mut line = line(1, how);
        let now = Instant::now();
        let fates: Vec<_> = (0..20).map(|_| line.decide(now, 1024)).collect();
        let due: Vec<_> = fates.iter().filter_map(|fate| fate.due.map(|due| due - now)).collect();
        let even: Vec<_> = (1..=10).map(|n| millis(10) * n).collect();
        assert_eq!(due, even, "10 ms for each KiB, and room for ten");
        assert_eq!(line.tally().overflowed, 10);
    }

    #[test]
    fn without_fault_packets_are_due_at_once() {
        let mut line = line(1, Disturbance::default());
        assert!(fates(&mut line, 100).iter().all(|late| *late == Some(Duration::ZERO)));
        assert_eq!(line.tally().delayed, 0);
    }
}
