//! The account of one conversation: which messages were sent and who saw them, and who owned it when.

/// The two ends of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Customer,
    Agent,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

#[derive(Clone, Copy, Debug, Default)]
struct Message {
    intended_us: u64,
    seq: Option<u64>,
    acknowledged: bool,
    refused: bool,
    seen: [bool; 2],
}

impl Message {
    fn settled(&self) -> bool {
        self.refused || (self.acknowledged && self.seen == [true; 2])
    }
}

/// A client that reads the conversation: the customer's, or that of an agent.
#[derive(Clone, Debug)]
struct Reader {
    /// `None`: the customer.
    agent: Option<usize>,
    last_seq: u64,
    /// Next number that is expected at the earliest, of each side's messages.
    next: [u32; 2],
}

/// Somebody owned it, by the stamps of the log.
#[derive(Clone, Copy, Debug)]
struct Ownership {
    epoch: u64,
    agent: usize,
    from_ms: u64,
    until_ms: Option<u64>,
}

/// The account.
#[derive(Clone, Debug, Default)]
pub struct Account {
    messages: [Vec<Message>; 2],
    readers: Vec<Reader>,
    owners: Vec<Ownership>,
    faults: Faults,
    open: u32,
}

impl Account {
    /// A message goes out; gives its number.
    pub fn sent(&mut self, side: Side, intended_us: u64) -> u32 {
        let messages = &mut self.messages[side as usize];
        messages.push(Message {
            intended_us,
            ..Message::default()
        });
        self.open += 1;
        messages.len() as u32 - 1
    }

    /// Its acknowledgement came. Gives its intended time.
    pub fn acknowledged(&mut self, side: Side, number: u32, seq: u64) -> Option<u64> {
        let message = self.messages[side as usize].get_mut(number as usize)?;
        message.acknowledged = true;
        self.faults.misordered += u64::from(*message.seq.get_or_insert(seq) != seq);
        self.open -= u32::from(message.settled());
        Some(message.intended_us)
    }

    /// It was refused.
    pub fn refused(&mut self, side: Side, number: u32) {
        if let Some(message) = self.messages[side as usize].get_mut(number as usize)
            && !message.settled()
        {
            message.refused = true;
            self.open -= 1;
        }
    }

    /// The client of `agent` (`None`: the customer's) was given it. Gives its intended time when that is the first time that the
    /// other side has it.
    pub fn seen(&mut self, side: Side, number: u32, agent: Option<usize>, seq: u64) -> Option<u64> {
        let at = match self.readers.iter().position(|reader| reader.agent == agent) {
            Some(at) => at,
            None => {
                self.readers.push(Reader {
                    agent,
                    last_seq: 0,
                    next: [0; 2],
                });
                self.readers.len() - 1
            }
        };
        let reader = &mut self.readers[at];
        let message = self.messages[side as usize].get_mut(number as usize)?;
        let by = usize::from(agent.is_some());
        if number < reader.next[side as usize] {
            // Numbers that this reader jumped over come late; all others have been here.
            if message.seen[by] {
                self.faults.duplicated += 1
            } else {
                self.faults.misordered += 1
            }
        } else {
            let elsewhere = *message.seq.get_or_insert(seq) != seq;
            self.faults.misordered += u64::from(seq <= reader.last_seq || elsewhere);
            reader.next[side as usize] = number + 1;
        }
        reader.last_seq = reader.last_seq.max(seq);
        let settled = message.settled();
        let first = !message.seen[by] && by != side as usize;
        message.seen[by] = true;
        self.open -= u32::from(!settled && message.settled());
        first.then_some(message.intended_us)
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
        let acknowledged = self.messages[side as usize].iter().enumerate();
        acknowledged
            .filter(|(_, message)| message.acknowledged)
            .map(|(number, message)| (number as u32, message.seq.unwrap_or(0)))
    }

    /// Messages that are not settled.
    pub fn open(&self) -> u32 {
        self.open
    }

    /// What went wrong. `answered`: an agent has had it, so that there is an other side to customer's messages.
    pub fn close(&self) -> Faults {
        let mut faults = self.faults;
        for message in self.messages.iter().flatten() {
            faults.lost += u64::from(message.acknowledged && message.seen != [true; 2]);
            faults.unanswered += u64::from(!message.acknowledged && !message.refused);
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
            assert_eq!(account.sent(Side::Customer, 100 * u64::from(n)), n);
        }
        account
    }

    fn both_see(account: &mut Account, number: u32, seq: u64) {
        account.seen(Side::Customer, number, None, seq);
        account.seen(Side::Customer, number, Some(7), seq);
        account.acknowledged(Side::Customer, number, seq);
    }

    #[test]
    fn what_goes_right_is_no_fault() {
        let mut account = with(3);
        assert_eq!(account.seen(Side::Customer, 0, None, 5), None, "the sender itself");
        assert_eq!(account.seen(Side::Customer, 0, Some(7), 5), Some(0));
        assert_eq!(account.acknowledged(Side::Customer, 0, 5), Some(0));
        account.refused(Side::Customer, 1);
        both_see(&mut account, 2, 8);
        assert_eq!((account.open(), account.close()), (0, Faults::default()));
        // The next owner reads from the beginning.
        assert_eq!(account.seen(Side::Customer, 0, Some(9), 5), None);
        account.seen(Side::Customer, 2, Some(9), 8);
        assert_eq!(account.close(), Faults::default());
    }

    #[test]
    fn lost_and_unanswered_are_told_apart() {
        let mut account = with(3);
        account.acknowledged(Side::Customer, 0, 1);
        account.seen(Side::Customer, 0, None, 1);
        account.refused(Side::Customer, 1);
        assert_eq!(account.open(), 2);
        let faults = account.close();
        assert_eq!((faults.lost, faults.unanswered, faults.count()), (1, 1, 2));
    }

    #[test]
    fn duplicates_and_wrong_orders_are_found() {
        let mut account = with(3);
        both_see(&mut account, 0, 1);
        account.seen(Side::Customer, 0, Some(7), 1);
        assert_eq!(account.close().duplicated, 1);
        account.seen(Side::Customer, 0, Some(7), 4); // the same message at another place
        assert_eq!(account.close().duplicated, 2);
        account.seen(Side::Customer, 2, Some(7), 6);
        account.seen(Side::Customer, 1, Some(7), 5); // after a later one
        assert_eq!(account.close().misordered, 1);
        account.acknowledged(Side::Customer, 2, 8); // elsewhere than seen
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
}
