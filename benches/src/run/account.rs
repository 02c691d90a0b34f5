//! The account of one conversation: which messages were sent and who saw them, and who owned it when.
//!
//! Where several generators play one run, each keeps an account of what its own people did and saw. What is judged by one reader alone
//! (twice, in a wrong order) is judged there; the rest (lost, at different places, owned by two) once the accounts are one.

use serde::{Deserialize, Serialize};

/// A conversation with more messages of one sender is none that a generator sent.
const NUMBERS_MAX: u32 = 1 << 20;

/// The two ends of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Customer,
    Agent,
}

/// Messages of a conversation that are numbered together: those of its customer, or those of the agents of one generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream(u16);

impl Stream {
    /// The customer's.
    pub const CUSTOMER: Self = Self(0);

    /// Of the agents whom a generator plays.
    pub fn agents_of(generator: usize) -> Self {
        Self(generator as u16 + 1)
    }

    /// Of a side, when this generator plays it.
    pub fn of(side: Side, generator: usize) -> Self {
        match side {
            Side::Customer => Self::CUSTOMER,
            Side::Agent => Self::agents_of(generator),
        }
    }

    /// Whose they are.
    pub fn side(self) -> Side {
        if self == Self::CUSTOMER {
            Side::Customer
        } else {
            Side::Agent
        }
    }

    /// As it stands in a message's text.
    pub fn letter(self) -> String {
        match self.0 {
            0 => "c".to_owned(),
            1 => "a".to_owned(),
            n => format!("a{}", n - 1),
        }
    }

    /// From a message's text.
    pub fn from_letter(text: &str) -> Option<Self> {
        match text {
            "c" => Some(Self::CUSTOMER),
            "a" => Some(Self(1)),
            _ => Some(Self::agents_of(text.strip_prefix('a')?.parse::<u16>().ok()?.into())),
        }
    }
}

/// What must not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// Messages acknowledged, and not seen by both sides.
    pub lost: u64,
    /// Seen again by the same reader.
    pub duplicated: u64,
    /// Seen after a later one of the same sender, or at another place than the other side or the acknowledgement says.
    pub misordered: u64,
    /// Conversations that two agents owned at a time.
    pub doubly_assigned: u64,
    /// An agent had more than there is room for.
    pub over_capacity: u64,
    /// Commands with neither acknowledgement nor refusal.
    pub unanswered: u64,
    /// Entries that did not follow on the one before: mended by the client, a fault all the same.
    pub gaps: u64,
}

impl Faults {
    /// With names.
    pub fn all(&self) -> [(&'static str, u64); 7] {
        [
            ("lost", self.lost),
            ("duplicated", self.duplicated),
            ("misordered", self.misordered),
            ("doubly assigned", self.doubly_assigned),
            ("over capacity", self.over_capacity),
            ("unanswered", self.unanswered),
            ("gaps", self.gaps),
        ]
    }

    /// Together.
    pub fn count(&self) -> u64 {
        self.all().iter().map(|(_, count)| count).sum()
    }

    /// Adds those of a part.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.misordered += other.misordered;
        self.doubly_assigned += other.doubly_assigned;
        self.over_capacity += other.over_capacity;
        self.unanswered += other.unanswered;
        self.gaps += other.gaps;
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(from = "(u8, u64)", into = "(u8, u64)")]
struct Message {
    intended_us: u64,
    seq: Option<u64>,
    /// By this generator.
    sent: bool,
    acknowledged: bool,
    refused: bool,
    seen: [bool; 2],
}

/// In short, for the way to the coordinator: what is so, as bits, and the place (0: unknown; places are from 1).
impl From<Message> for (u8, u64) {
    fn from(message: Message) -> Self {
        let [customer, agent] = message.seen;
        let flags = [message.sent, message.acknowledged, message.refused, customer, agent];
        let bits = flags.iter().rev().fold(0, |bits, is| bits << 1 | u8::from(*is));
        (bits, message.seq.unwrap_or(0))
    }
}

impl From<(u8, u64)> for Message {
    fn from((bits, seq): (u8, u64)) -> Self {
        let is = |n: u8| bits >> n & 1 == 1;
        Self {
            intended_us: 0,
            seq: (seq > 0).then_some(seq),
            sent: is(0),
            acknowledged: is(1),
            refused: is(2),
            seen: [is(3), is(4)],
        }
    }
}

impl Message {
    /// Nothing more is to come of it to the readers who are here.
    fn settled(&self, readers: [bool; 2]) -> bool {
        let seen = |side: usize| self.seen[side] || !readers[side];
        self.refused || (self.acknowledged && seen(0) && seen(1))
    }
}

/// A client that reads the conversation: the customer's, or that of an agent.
#[derive(Clone, Debug)]
struct Reader {
    /// `None`: the customer.
    agent: Option<usize>,
    last_seq: u64,
    /// Next number that is expected at the earliest, of each stream's messages.
    next: Vec<(Stream, u32)>,
}

/// Somebody owned it, by the stamps of the log.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Ownership {
    epoch: u64,
    agent: usize,
    from_ms: u64,
    until_ms: Option<u64>,
}

/// The account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Account {
    messages: Vec<(Stream, Vec<Message>)>,
    owners: Vec<Ownership>,
    faults: Faults,
    #[serde(skip)]
    readers: Vec<Reader>,
    /// Sides whose readers are surely in this generator.
    #[serde(skip)]
    here: [bool; 2],
    #[serde(skip)]
    open: u32,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            owners: Vec::new(),
            faults: Faults::default(),
            readers: Vec::new(),
            here: [true; 2],
            open: 0,
        }
    }
}

impl Reader {
    fn next(&self, stream: Stream) -> u32 {
        let of = self.next.iter().find(|(of, _)| *of == stream);
        of.map_or(0, |(_, next)| *next)
    }

    fn expect(&mut self, stream: Stream, number: u32) {
        match self.next.iter_mut().find(|(of, _)| *of == stream) {
            Some((_, next)) => *next = number,
            None => self.next.push((stream, number)),
        }
    }
}

impl Account {
    /// Of a conversation whose agent, and perhaps customer, may be played by another generator.
    pub fn in_part(customer_is_here: bool) -> Self {
        Self {
            here: [customer_is_here, false],
            ..Self::default()
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.owners.is_empty() && self.faults == Faults::default()
    }

    fn stream(&mut self, stream: Stream) -> &mut Vec<Message> {
        let at = match self.messages.iter().position(|(of, _)| *of == stream) {
            Some(at) => at,
            None => {
                self.messages.push((stream, Vec::new()));
                self.messages.len() - 1
            }
        };
        &mut self.messages[at].1
    }

    /// A message goes out; gives its number.
    pub fn sent(&mut self, stream: Stream, intended_us: u64) -> u32 {
        let messages = self.stream(stream);
        messages.push(Message {
            intended_us,
            sent: true,
            ..Message::default()
        });
        let number = messages.len() as u32 - 1;
        self.open += 1;
        number
    }

    /// Its acknowledgement came. Gives its intended time.
    pub fn acknowledged(&mut self, stream: Stream, number: u32, seq: u64) -> Option<u64> {
        let here = self.here;
        let message = self.stream(stream).get_mut(number as usize)?;
        message.acknowledged = true;
        let elsewhere = *message.seq.get_or_insert(seq) != seq;
        let (settled, intended_us) = (message.settled(here), message.intended_us);
        self.faults.misordered += u64::from(elsewhere);
        self.open -= u32::from(settled);
        Some(intended_us)
    }

    /// It was refused.
    pub fn refused(&mut self, stream: Stream, number: u32) {
        let here = self.here;
        if let Some(message) = self.stream(stream).get_mut(number as usize)
            && !message.settled(here)
        {
            message.refused = true;
            self.open -= 1;
        }
    }

    fn reader(&mut self, agent: Option<usize>) -> usize {
        if let Some(at) = self.readers.iter().position(|reader| reader.agent == agent) {
            return at;
        }
        self.readers.push(Reader {
            agent,
            last_seq: 0,
            next: Vec::new(),
        });
        self.readers.len() - 1
    }

    /// The client of `agent` (`None`: the customer's) was given it. Gives its intended time (0 if another generator sent it) when that is
    /// the first time that the other side has it, as far as is known here.
    pub fn seen(&mut self, stream: Stream, number: u32, agent: Option<usize>, seq: u64) -> Option<u64> {
        if number > NUMBERS_MAX {
            return None;
        }
        let (here, by) = (self.here, usize::from(agent.is_some()));
        let at = self.reader(agent);
        let (next, last_seq) = (self.readers[at].next(stream), self.readers[at].last_seq);
        let messages = self.stream(stream);
        if messages.len() <= number as usize {
            // Sent by another generator.
            messages.resize(number as usize + 1, Message::default());
        }
        let message = &mut messages[number as usize];
        let (settled, was_seen) = (message.settled(here), message.seen[by]);
        let late = number < next;
        let elsewhere = !late && *message.seq.get_or_insert(seq) != seq;
        message.seen[by] = true;
        let settles = message.sent && !settled && message.settled(here);
        let intended_us = message.intended_us;
        if late {
            // Numbers that this reader jumped over come late; all others have been here.
            if was_seen {
                self.faults.duplicated += 1
            } else {
                self.faults.misordered += 1
            }
        } else {
            self.faults.misordered += u64::from(seq <= last_seq || elsewhere);
            self.readers[at].expect(stream, number + 1);
        }
        let reader = &mut self.readers[at];
        reader.last_seq = reader.last_seq.max(seq);
        self.open -= u32::from(settles);
        (!was_seen && by != stream.side() as usize).then_some(intended_us)
    }

    /// An agent has it, by the log.
    pub fn assigned(&mut self, epoch: u64, agent: usize, from_ms: u64) {
        if !self
            .owners
            .iter()
            .any(|owner| owner.epoch == epoch && owner.agent == agent)
        {
            self.owners.push(Ownership {
                epoch,
                agent,
                from_ms,
                until_ms: None,
            });
        }
    }

    /// An agent has it no longer, by the log.
    pub fn unassigned(&mut self, agent: usize, at_ms: u64) {
        let of_agent = |owner: &&mut Ownership| owner.agent == agent && owner.until_ms.is_none();
        if let Some(owner) = self.owners.iter_mut().rev().find(of_agent) {
            owner.until_ms = Some(at_ms);
        }
    }

    /// Messages of one side that were acknowledged: number and place, as far as that is known.
    pub fn places(&self, side: Side) -> impl Iterator<Item = (u32, u64)> {
        let of_side = self.messages.iter().filter(move |(stream, _)| stream.side() == side);
        of_side
            .flat_map(|(_, messages)| messages.iter().enumerate())
            .filter(|(_, message)| message.acknowledged)
            .map(|(number, message)| (number as u32, message.seq.unwrap_or(0)))
    }

    /// Messages that are not settled.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// Adds what another generator knows of the same conversation.
    pub fn merge(&mut self, other: Self) {
        for (stream, theirs) in other.messages {
            let mut elsewhere = 0;
            let ours = self.stream(stream);
            if ours.len() < theirs.len() {
                ours.resize(theirs.len(), Message::default());
            }
            for (message, their) in ours.iter_mut().zip(theirs) {
                message.sent |= their.sent;
                message.acknowledged |= their.acknowledged;
                message.refused |= their.refused;
                (0..2).for_each(|side| message.seen[side] |= their.seen[side]);
                elsewhere += u64::from(matches!((message.seq, their.seq), (Some(a), Some(b)) if a != b));
                message.seq = message.seq.or(their.seq);
            }
            self.faults.misordered += elsewhere;
        }
        self.owners.extend(other.owners);
        self.faults.add(&other.faults);
    }

    /// Messages that were acknowledged.
    pub fn acknowledgements(&self) -> u64 {
        let messages = self.messages.iter().flat_map(|(_, messages)| messages);
        messages.filter(|message| message.acknowledged).count() as u64
    }

    /// What went wrong.
    pub fn close(&self) -> Faults {
        let mut faults = self.faults;
        for message in self.messages.iter().flat_map(|(_, messages)| messages) {
            faults.lost += u64::from(message.acknowledged && message.seen != [true; 2]);
            faults.unanswered += u64::from(message.sent && !message.acknowledged && !message.refused);
        }
        let mut owners = self.owners.clone();
        owners.sort_by_key(|owner| owner.epoch);
        let twice = |pair: &[Ownership]| {
            let overlap = pair[0].until_ms.is_none_or(|until_ms| until_ms > pair[1].from_ms);
            pair[0].agent != pair[1].agent && (pair[0].epoch == pair[1].epoch || overlap)
        };
        faults.doubly_assigned += owners.windows(2).filter(|pair| twice(pair)).count() as u64;
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(messages: u32) -> Account {
        let mut account = Account::default();
        for n in 0..messages {
            assert_eq!(account.sent(Stream::CUSTOMER, 100 * u64::from(n)), n);
        }
        account
    }

    fn both_see(account: &mut Account, number: u32, seq: u64) {
        account.seen(Stream::CUSTOMER, number, None, seq);
        account.seen(Stream::CUSTOMER, number, Some(7), seq);
        account.acknowledged(Stream::CUSTOMER, number, seq);
    }

    #[test]
    fn what_goes_right_is_no_fault() {
        let mut account = with(3);
        assert_eq!(account.seen(Stream::CUSTOMER, 0, None, 5), None, "the sender itself");
        assert_eq!(account.seen(Stream::CUSTOMER, 0, Some(7), 5), Some(0));
        assert_eq!(account.acknowledged(Stream::CUSTOMER, 0, 5), Some(0));
        account.refused(Stream::CUSTOMER, 1);
        both_see(&mut account, 2, 8);
        assert_eq!((account.open(), account.close()), (0, Faults::default()));
        // The next owner reads from the beginning.
        assert_eq!(account.seen(Stream::CUSTOMER, 0, Some(9), 5), None);
        account.seen(Stream::CUSTOMER, 2, Some(9), 8);
        assert_eq!(account.close(), Faults::default());
    }

    #[test]
    fn lost_and_unanswered_are_told_apart() {
        let mut account = with(3);
        account.acknowledged(Stream::CUSTOMER, 0, 1);
        account.seen(Stream::CUSTOMER, 0, None, 1);
        account.refused(Stream::CUSTOMER, 1);
        assert_eq!(account.open(), 2);
        let faults = account.close();
        assert_eq!((faults.lost, faults.unanswered, faults.count()), (1, 1, 2));
    }

    #[test]
    fn duplicates_and_wrong_orders_are_found() {
        let mut account = with(3);
        both_see(&mut account, 0, 1);
        account.seen(Stream::CUSTOMER, 0, Some(7), 1);
        assert_eq!(account.close().duplicated, 1);
        account.seen(Stream::CUSTOMER, 0, Some(7), 4); // the same message at another place
        assert_eq!(account.close().duplicated, 2);
        account.seen(Stream::CUSTOMER, 2, Some(7), 6);
        account.seen(Stream::CUSTOMER, 1, Some(7), 5); // after a later one
        assert_eq!(account.close().misordered, 1);
        account.acknowledged(Stream::CUSTOMER, 2, 8); // elsewhere than seen
        assert_eq!(account.close().misordered, 2);
    }

    #[test]
    fn two_owners_at_a_time_are_found() {
        let owners = |list: &[(u64, usize, u64, Option<u64>)]| {
            let mut account = Account::default();
            for &(epoch, agent, from_ms, until_ms) in list {
                account.assigned(epoch, agent, from_ms);
                if let Some(until_ms) = until_ms {
                    account.unassigned(agent, until_ms);
                }
            }
            account.close().doubly_assigned
        };
        assert_eq!(owners(&[(1, 4, 10, Some(20)), (2, 5, 20, None)]), 0);
        assert_eq!(
            owners(&[(2, 5, 20, None), (1, 4, 10, Some(20))]),
            0,
            "in any order of hearing"
        );
        assert_eq!(owners(&[(1, 4, 10, Some(30)), (2, 5, 20, None)]), 1, "overlap");
        assert_eq!(owners(&[(1, 4, 10, None), (2, 5, 20, None)]), 1, "never ended");
        assert_eq!(owners(&[(1, 4, 10, Some(20)), (1, 5, 20, None)]), 1, "one epoch");
        assert_eq!(owners(&[(1, 4, 10, None), (1, 4, 10, None)]), 0, "told twice");
    }

    const FIRST: Stream = Stream(1);

    /// The customer's generator sends two; the agent's, another one, sees them, and answers with one.
    fn two_sides() -> (Account, Account) {
        let (mut customers, mut agents) = (Account::in_part(true), Account::in_part(false));
        for (number, seq) in [(0, 3), (1, 4)] {
            assert_eq!(customers.sent(Stream::CUSTOMER, 10), number);
            customers.seen(Stream::CUSTOMER, number, None, seq);
            customers.acknowledged(Stream::CUSTOMER, number, seq);
            assert_eq!(agents.seen(Stream::CUSTOMER, number, Some(7), seq), Some(0));
        }
        agents.sent(FIRST, 20);
        agents.acknowledged(FIRST, 0, 5);
        agents.seen(FIRST, 0, Some(7), 5);
        (customers, agents)
    }

    fn wired(account: &Account) -> Account {
        serde_json::from_str(&serde_json::to_string(account).unwrap()).unwrap()
    }

    fn merged(customers: &Account, agents: &Account) -> Faults {
        let mut whole = wired(customers);
        whole.merge(wired(agents));
        let mut other_way = wired(agents);
        other_way.merge(wired(customers));
        assert_eq!(whole.close(), other_way.close(), "in any order");
        whole.close()
    }

    #[test]
    fn streams_are_read_as_they_are_written() {
        for stream in [Stream::CUSTOMER, Stream::agents_of(0), Stream::agents_of(12)] {
            assert_eq!(Stream::from_letter(&stream.letter()), Some(stream));
        }
        assert_eq!(Stream::agents_of(0).letter(), "a");
        assert_eq!((Stream::from_letter("b"), Stream::from_letter("ax")), (None, None));
    }

    #[test]
    fn parts_that_fit_are_no_fault() {
        let (mut customers, agents) = two_sides();
        assert_eq!(
            (customers.open(), agents.open()),
            (0, 0),
            "nothing that is here is open"
        );
        customers.seen(FIRST, 0, None, 5);
        assert_eq!(merged(&customers, &agents), Faults::default());
        customers.merge(agents);
        assert_eq!(customers.acknowledgements(), 3);
    }

    #[test]
    fn a_message_that_the_other_generator_did_not_see_is_lost() {
        let (customers, agents) = two_sides();
        let faults = merged(&customers, &agents);
        assert_eq!(
            (faults.lost, faults.count()),
            (1, 1),
            "the customer did not see the answer"
        );
    }

    #[test]
    fn duplicates_and_orders_over_two_generators_are_found() {
        let (mut customers, mut agents) = two_sides();
        customers.seen(FIRST, 0, None, 5);
        customers.seen(FIRST, 0, None, 5);
        assert_eq!(merged(&customers, &agents).duplicated, 1);
        agents.sent(FIRST, 30);
        agents.sent(FIRST, 31);
        for (number, seq) in [(1, 6), (2, 7)] {
            agents.acknowledged(FIRST, number, seq);
            agents.seen(FIRST, number, Some(7), seq);
        }
        customers.seen(FIRST, 2, None, 7);
        customers.seen(FIRST, 1, None, 6);
        let faults = merged(&customers, &agents);
        assert_eq!((faults.misordered, faults.duplicated, faults.lost), (1, 1, 0));
    }

    #[test]
    fn one_message_at_two_places_is_found_by_the_merge_alone() {
        let (mut customers, agents) = two_sides();
        customers.seen(FIRST, 0, None, 6);
        assert_eq!((customers.close().misordered, agents.close().misordered), (0, 0));
        assert_eq!(merged(&customers, &agents).misordered, 1);
    }

    #[test]
    fn owners_in_two_generators_are_put_side_by_side() {
        let owner = |epoch, agent, from_ms, until_ms| {
            let mut account = Account::in_part(false);
            account.assigned(epoch, agent, from_ms);
            account.unassigned(agent, until_ms);
            account
        };
        assert_eq!(merged(&owner(1, 4, 10, 20), &owner(2, 5, 20, 30)).doubly_assigned, 0);
        assert_eq!(merged(&owner(1, 4, 10, 25), &owner(2, 5, 20, 30)).doubly_assigned, 1);
    }

    #[test]
    fn agents_of_two_generators_number_apart() {
        let (mut customers, mut agents) = two_sides();
        customers.seen(FIRST, 0, None, 5);
        let mut others = Account::in_part(false);
        let second = Stream::agents_of(1);
        for (number, seq) in [(0, 3), (1, 4)] {
            others.seen(Stream::CUSTOMER, number, Some(8), seq);
        }
        assert_eq!(others.sent(second, 50), 0);
        others.acknowledged(second, 0, 9);
        others.seen(second, 0, Some(8), 9);
        customers.seen(second, 0, None, 9);
        agents.merge(others);
        assert_eq!(merged(&customers, &agents), Faults::default());
    }
}
