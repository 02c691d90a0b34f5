//! A world among others: what it is told and tells, what it writes down for the merge, and that either side of a conversation may be
//! played elsewhere.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::books::Step;
use super::roll::Share;
use super::{Phase, World};
use crate::run::account::Account;
use crate::run::line::News;

/// What a world among several is told.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    /// Everybody begins at this time.
    Begin(Instant),
    /// Tell what is known of all conversations.
    Account,
    /// It is over.
    End,
}

/// What it answers.
#[derive(Debug)]
pub enum Answer {
    /// The standing conversations are there.
    Ready,
    /// Nothing is open here, or it has been waited for long enough.
    Settled,
    /// Conversations by number.
    Accounts(Vec<(u32, Account)>),
}

/// The way between a world among several and who speaks for it.
pub struct Company {
    pub share: Share,
    pub orders: Receiver<Order>,
    pub answers: tokio::sync::mpsc::UnboundedSender<Answer>,
}

impl World {
    /// Whether others play some of the people.
    pub(super) fn shared(&self) -> bool {
        self.books.is_some()
    }

    /// Whether a customer is played here.
    pub(super) fn has_customer(&self, number: u32) -> bool {
        self.share.has(number as usize)
    }

    /// Somebody starts. Of what was at the time, whatever came later.
    pub(super) fn starts(&mut self, number: u32, class: usize, intended_us: u64) {
        if let Some(books) = &mut self.books {
            books.steps.push((intended_us, Step::Start(number, class as u32)));
        }
    }

    fn step(&mut self, step: Step) {
        if self.books.is_none() {
            return;
        }
        // What happens before the run happens before all else.
        let at_us = if self.begun { self.now_us() } else { 0 };
        if let Some(books) = &mut self.books {
            books.steps.push((at_us, step));
        }
    }

    /// More (or fewer) places of a group are free.
    pub(super) fn frees(&mut self, group: usize, change: i64) {
        self.free[group] += change;
        self.step(Step::Free(group as u32, change as i32));
    }

    /// One more (or less) waits.
    pub(super) fn waits(&mut self, number: u32, change: i64) {
        let queue = self.classes[self.conversations[number as usize].class].queue;
        self.waiting[queue] += change;
        self.step(Step::Wait(queue as u32, change as i32));
    }

    /// It was closed or passed on, or is about to be.
    pub(super) fn moves(&mut self, number: u32, at_us: u64) {
        if let Some(books) = &mut self.books {
            let first_us = books.moved.entry(number).or_insert(at_us);
            *first_us = at_us.min(*first_us);
        }
    }

    /// Where a conversation stands, as the agents here know.
    pub(super) fn desk_phase(&mut self, number: u32, phase: Phase) {
        let shared = self.shared();
        let conversation = &mut self.conversations[number as usize];
        conversation.at_desk = phase;
        if !shared {
            conversation.phase = phase;
        }
    }

    /// As its customer knows.
    pub(super) fn customer_phase(&mut self, number: u32, phase: Phase) {
        let shared = self.shared();
        let conversation = &mut self.conversations[number as usize];
        conversation.phase = phase;
        if !shared {
            conversation.at_desk = phase;
        }
    }

    /// Until everybody else is ready as well.
    pub(super) fn wait_for_begin(&mut self, news: &Receiver<News>) -> Result<Instant> {
        const NEAR: Duration = Duration::from_millis(20);
        let mut begins: Option<Instant> = None;
        loop {
            // Standing conversations of others may come to the agents here.
            self.act_due();
            self.hear_for(news, Duration::from_millis(2))?;
            ensure!(!self.control.aborted(), "ended by hand");
            match self.company.as_ref().map(|company| company.orders.try_recv()) {
                Some(Ok(Order::Begin(at))) => begins = Some(at),
                Some(Err(TryRecvError::Disconnected)) => anyhow::bail!("the coordinator has gone"),
                _ => {}
            }
            if let Some(at) = begins.filter(|at| Instant::now() + NEAR > *at) {
                return Ok(at);
            }
        }
    }

    /// Listens on, for what others have sent, and tells what is known when asked.
    pub(super) fn stay(&mut self, news: &Receiver<News>) -> Result<()> {
        let Some(company) = self.company.take() else {
            return Ok(());
        };
        let _ = company.answers.send(Answer::Settled);
        loop {
            self.hear_for(news, Duration::from_millis(5))?;
            ensure!(!self.control.aborted(), "ended by hand");
            match company.orders.try_recv() {
                Ok(Order::Account) => {
                    let known = self.conversations.iter().enumerate();
                    let known = known.filter(|(_, conversation)| !conversation.account.is_empty());
                    let known = known.map(|(number, conversation)| (number as u32, conversation.account.clone()));
                    let _ = company.answers.send(Answer::Accounts(known.collect()));
                }
                Ok(Order::End) => return Ok(()),
                Ok(Order::Begin(_)) | Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => anyhow::bail!("the coordinator has gone"),
            }
        }
    }
}
