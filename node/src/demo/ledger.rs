//! What the simulated clients were promised, so that it can be asked for again afterwards: every message that was
//! acknowledged, and whose. Nobody says the same sentence twice in one conversation, so a duplicate shows.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use routing::ids::{ConversationId, Seq};
use serde::Serialize;

/// Whose message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Speaker {
    /// The customer.
    Customer,
    /// Whichever agent had it.
    Agent,
}

/// A message, as a node gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Its place.
    pub seq: Seq,
    /// Whose.
    pub by: Speaker,
    /// What.
    pub text: String,
}

/// One conversation's promises.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Acknowledged: text and, where it was told, the place.
    messages: Vec<(Speaker, String, Option<Seq>)>,
    /// The close was acknowledged, or both sides saw it.
    closed: bool,
    answered: bool,
}

/// Numbers for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Conversations that simulated customers began.
    pub started: u64,
    /// Of those, met an agent.
    pub answered: u64,
    /// Of those, ended.
    pub closed: u64,
    /// Customers whose patience ended before an agent came.
    pub gave_up: u64,
    /// Messages whose acknowledgement came.
    pub acknowledged: u64,
    /// Messages that were refused.
    pub refused: u64,
    /// Conversations that were read back and compared.
    pub read_back: u64,
    /// Messages that were found again, counting every node that was asked.
    pub found: u64,
    /// Acknowledged messages that were missing, or not as acknowledged.
    pub lost: u64,
    /// Messages that were there twice.
    pub duplicated: u64,
    /// Times a client was given an entry that did not follow on the one before (it then reads again).
    pub gaps: u64,
}

/// What clients went through when a node was killed.
#[derive(Clone, Debug, Serialize)]
pub struct Outage {
    /// Which node.
    pub node: u64,
    /// When, Unix milliseconds.
    pub at_ms: u64,
    /// Longest that a simulated client waited for an acknowledgement, of what it sent from shortly before the kill until
    /// five seconds after it; counted from the kill on.
    pub longest_ack_ms: u64,
    /// How many acknowledgements that is the longest of.
    pub acknowledgements: u64,
    /// Clients that lost their connection.
    pub disconnected: u64,
    /// Longest time without a connection.
    pub longest_reconnect_ms: u64,
    /// Shards that the node led, and how long each was without a leader.
    pub elections: BTreeMap<u32, u64>,
    #[serde(skip)]
    since: Instant,
}

/// How long after a kill what is sent still tells of it.
const OUTAGE_WINDOW: Duration = Duration::from_secs(5);
/// Faults that are kept in words; all are counted.
const FAULTS_MAX: usize = 100;
/// Seconds of history for the page.
const HISTORY_S: usize = 60;
/// Conversations whose promises are kept; beyond it the oldest that were read back are let go.
const OPEN_MAX: usize = 20_000;

#[derive(Default)]
struct Book {
    totals: Totals,
    open: HashMap<ConversationId, Promises>,
    to_read: VecDeque<(Instant, ConversationId)>,
    outage: Option<Outage>,
    faults: Vec<String>,
    per_second: VecDeque<(u64, u32)>,
}

/// The book of promises.
pub struct Ledger {
    book: Mutex<Book>,
    began: Instant,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            book: Mutex::default(),
            began: Instant::now(),
        }
    }
}

impl Ledger {
    /// A customer's conversation was acknowledged.
    pub fn started(&self, conversation: ConversationId, first: &str, took: Duration) {
        let mut book = self.book.lock();
        book.totals.started += 1;
        if book.open.len() < OPEN_MAX {
            book.open.entry(conversation).or_default();
        }
        self.acked(&mut book, conversation, Speaker::Customer, first, None, took);
    }

    /// A message was acknowledged.
    pub fn acknowledged(
        &self,
        conversation: ConversationId,
        by: Speaker,
        text: &str,
        seq: Option<Seq>,
        took: Duration,
    ) {
        self.acked(&mut self.book.lock(), conversation, by, text, seq, took);
    }

    fn acked(
        &self,
        book: &mut Book,
        conversation: ConversationId,
        by: Speaker,
        text: &str,
        seq: Option<Seq>,
        took: Duration,
    ) {
        book.totals.acknowledged += 1;
        if let Some(promises) = book.open.get_mut(&conversation) {
            promises.messages.push((by, text.to_owned(), seq));
        }
        let second = self.began.elapsed().as_secs();
        match book.per_second.back_mut() {
            Some((at, count)) if *at == second => *count += 1,
            _ => book.per_second.push_back((second, 1)),
        }
        while book
            .per_second
            .front()
            .is_some_and(|(at, _)| at + (HISTORY_S as u64) < second)
        {
            book.per_second.pop_front();
        }
        waited(book, took);
    }

    /// A command that is no message was acknowledged: it counts for the pause only.
    pub fn done(&self, took: Duration) {
        waited(&mut self.book.lock(), took);
    }

    /// A message was refused: nothing was promised.
    pub fn refused(&self) {
        self.book.lock().totals.refused += 1;
    }

    /// An agent came.
    pub fn answered(&self, conversation: ConversationId) {
        let mut book = self.book.lock();
        if let Some(promises) = book.open.get_mut(&conversation)
            && !std::mem::replace(&mut promises.answered, true)
        {
            book.totals.answered += 1;
        }
    }

    /// It has ended, and may be read back.
    pub fn closed(&self, conversation: ConversationId) {
        let mut book = self.book.lock();
        if let Some(promises) = book.open.get_mut(&conversation)
            && !std::mem::replace(&mut promises.closed, true)
        {
            book.totals.closed += 1;
            book.to_read.push_back((Instant::now(), conversation));
        }
    }

    /// A customer's patience ended.
    pub fn gave_up(&self) {
        self.book.lock().totals.gave_up += 1;
    }

    /// A client saw a gap.
    pub fn gap(&self) {
        self.book.lock().totals.gaps += 1;
    }

    /// A node is about to be killed.
    pub fn outage_begins(&self, node: u64, at_ms: u64) {
        self.book.lock().outage = Some(Outage {
            node,
            at_ms,
            longest_ack_ms: 0,
            acknowledgements: 0,
            disconnected: 0,
            longest_reconnect_ms: 0,
            elections: BTreeMap::new(),
            since: Instant::now(),
        });
    }

    /// A client was without a connection for so long, until now.
    pub fn reconnected(&self, took: Duration) {
        let mut book = self.book.lock();
        if let Some(outage) = &mut book.outage
            && outage.since.elapsed() < OUTAGE_WINDOW + took
        {
            outage.disconnected += 1;
            outage.longest_reconnect_ms = outage.longest_reconnect_ms.max(took.as_millis() as u64);
        }
    }

    /// A shard has a leader again; how long it had none, if it lost the one before at the last kill.
    pub fn elected(&self, shard: u32, lost_by: u64) -> Option<u64> {
        let mut book = self.book.lock();
        let outage = book.outage.as_mut().filter(|outage| outage.node == lost_by)?;
        let took = outage.since.elapsed();
        if took > OUTAGE_WINDOW || outage.elections.contains_key(&shard) {
            return None;
        }
        let took_ms = took.as_millis() as u64;
        outage.elections.insert(shard, took_ms);
        Some(took_ms)
    }

    /// What clients went through at the last kill.
    pub fn outage(&self) -> Option<Outage> {
        self.book.lock().outage.clone()
    }

    /// The numbers.
    pub fn totals(&self) -> Totals {
        self.book.lock().totals
    }

    /// Something is wrong that no message shows.
    pub fn fault(&self, text: String) {
        let mut book = self.book.lock();
        if book.faults.len() < FAULTS_MAX && !book.faults.contains(&text) {
            book.faults.push(text);
        }
    }

    /// What was found wrong, in sentences.
    pub fn faults(&self) -> Vec<String> {
        self.book.lock().faults.clone()
    }

    /// Acknowledgements in each of the last sixty seconds, the oldest first, the current second left out.
    pub fn history(&self) -> Vec<u32> {
        let book = self.book.lock();
        let now = self.began.elapsed().as_secs();
        let mut history = vec![0; HISTORY_S];
        for (at, count) in &book.per_second {
            if let Some(back) = now.checked_sub(at + 1).filter(|back| *back < HISTORY_S as u64) {
                history[HISTORY_S - 1 - back as usize] = *count;
            }
        }
        history
    }

    /// A conversation that ended at least `ago` ago and was not yet read back.
    pub fn next_to_read(&self, ago: Duration) -> Option<ConversationId> {
        let mut book = self.book.lock();
        if book.to_read.front().is_some_and(|(at, _)| at.elapsed() >= ago) {
            book.to_read.pop_front().map(|(_, conversation)| conversation)
        } else {
            None
        }
    }

    /// Every conversation whose promises were not yet compared.
    pub fn not_read(&self) -> Vec<ConversationId> {
        self.book.lock().open.keys().copied().collect()
    }

    /// Compares what was promised with what each node gave, and lets the promises go.
    pub fn compare(&self, conversation: ConversationId, answers: &[(u64, Vec<Said>)]) {
        let mut book = self.book.lock();
        let Some(promises) = book.open.remove(&conversation) else {
            return;
        };
        book.totals.read_back += 1;
        for (node, said) in answers {
            let findings = compare(&promises, said);
            book.totals.found += findings.found;
            book.totals.lost += findings.lost.len() as u64;
            book.totals.duplicated += findings.twice.len() as u64;
            let lost = findings.lost.iter().map(|text| ("missing or not in its place", text));
            for (what, text) in lost.chain(findings.twice.iter().map(|text| ("there twice", text))) {
                let fault = format!("{conversation}, read from node {node}: {what}: {text:?}");
                if book.faults.len() < FAULTS_MAX {
                    book.faults.push(fault);
                }
            }
        }
    }
}

fn waited(book: &mut Book, took: Duration) {
    let Some(outage) = &mut book.outage else { return };
    let since_kill = outage.since.elapsed();
    // Sent before the window's end, and not settled before the kill.
    if since_kill.saturating_sub(took) < OUTAGE_WINDOW {
        outage.acknowledgements += 1;
        let waited_ms = took.min(since_kill).as_millis() as u64;
        outage.longest_ack_ms = outage.longest_ack_ms.max(waited_ms);
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    found: u64,
    lost: Vec<String>,
    twice: Vec<String>,
}

fn compare(promises: &Promises, said: &[Said]) -> Findings {
    let mut findings = Findings::default();
    let mut there: HashMap<(Speaker, &str), Vec<Seq>> = HashMap::new();
    for message in said {
        there.entry((message.by, &message.text)).or_default().push(message.seq);
    }
    for (by, text, seq) in &promises.messages {
        let places = there.get(&(*by, text.as_str()));
        match places {
            Some(places) if seq.is_none_or(|seq| places.contains(&seq)) => findings.found += 1,
            _ => findings.lost.push(text.clone()),
        }
    }
    let twice = there.iter().filter(|(_, places)| places.len() > 1);
    findings.twice = twice.map(|((_, text), _)| (*text).to_owned()).collect();
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONVERSATION: ConversationId = ConversationId(7);

    fn said(seq: Seq, by: Speaker, text: &str) -> Said {
        Said {
            seq,
            by,
            text: text.to_owned(),
        }
    }

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.started(CONVERSATION, "hello", Duration::ZERO);
        ledger.acknowledged(CONVERSATION, Speaker::Agent, "how can I help?", Some(3), Duration::ZERO);
        ledger
    }

    #[test]
    fn what_is_all_there_is_found() {
        let ledger = ledger();
        let all = vec![
            said(1, Speaker::Customer, "hello"),
            said(3, Speaker::Agent, "how can I help?"),
            said(4, Speaker::Customer, "never acknowledged, but there: allowed"),
        ];
        ledger.compare(CONVERSATION, &[(1, all.clone()), (2, all)]);
        let totals = ledger.totals();
        assert_eq!(
            (totals.found, totals.lost, totals.duplicated, totals.read_back),
            (4, 0, 0, 1)
        );
        assert!(ledger.not_read().is_empty(), "its promises are let go");
    }

    #[test]
    fn what_is_missing_twice_or_elsewhere_is_told() {
        let ledger = ledger();
        let missing = vec![said(1, Speaker::Customer, "hello")];
        let twice = vec![
            said(1, Speaker::Customer, "hello"),
            said(2, Speaker::Customer, "hello"),
            said(4, Speaker::Agent, "how can I help?"),
        ];
        ledger.compare(CONVERSATION, &[(1, missing), (2, twice)]);
        let totals = ledger.totals();
        assert_eq!((totals.found, totals.lost, totals.duplicated), (2, 2, 1));
        let faults = ledger.faults();
        assert_eq!(faults.len(), 3, "{faults:#?}");
        assert!(faults[0].contains("node 1") && faults[0].contains("how can I help?"));
    }

    #[test]
    fn the_pause_is_the_longest_wait_since_the_kill() {
        let ledger = ledger();
        ledger.outage_begins(2, 1_000);
        ledger.acknowledged(CONVERSATION, Speaker::Customer, "a", None, Duration::from_secs(9));
        let outage = ledger.outage().expect("it has begun");
        assert_eq!(outage.acknowledgements, 1);
        assert!(
            outage.longest_ack_ms < 5_000,
            "what it waited before the kill does not count: {outage:?}"
        );
        assert_eq!(ledger.elected(1, 3), None, "another node's shard");
        assert!(ledger.elected(1, 2).is_some());
        assert_eq!(ledger.elected(1, 2), None, "told once");
    }

    #[test]
    fn only_what_ended_is_read_back() {
        let ledger = ledger();
        assert_eq!(ledger.next_to_read(Duration::ZERO), None);
        ledger.closed(CONVERSATION);
        ledger.closed(CONVERSATION);
        assert_eq!(ledger.totals().closed, 1);
        assert_eq!(ledger.next_to_read(Duration::from_secs(60)), None);
        assert_eq!(ledger.next_to_read(Duration::ZERO), Some(CONVERSATION));
        assert_eq!(ledger.next_to_read(Duration::ZERO), None);
    }
}
