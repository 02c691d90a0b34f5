//! What several generators measured and saw, made one.

use anyhow::Result;

use crate::run::account::Account;
use crate::run::record::{Measure, PackedRecord, Record};
use crate::run::world::Tally;
use crate::run::world::books::{self, Books};
use crate::run::world::roll::Layout;
use crate::scenario::Scenario;

/// Of one generator.
pub struct Part {
    pub record: PackedRecord,
    pub tally: Tally,
    pub books: Books,
}

/// Of all.
pub struct Merged {
    pub record: Record,
    pub tally: Tally,
}

/// Makes them one. `accounts`: of each conversation, that of all generators; `plans`: the plan of each tenant.
pub fn merge(
    scenario: &Scenario,
    plans: &[usize],
    parts: Vec<Part>,
    accounts: impl IntoIterator<Item = Account>,
    cut_us: Option<u64>,
) -> Result<Merged> {
    let mut tally = Tally::default();
    let (mut records, mut all_books) = (Vec::new(), Vec::new());
    for part in parts {
        tally.add(part.tally);
        records.push(part.record);
        all_books.push(part.books);
    }
    for account in accounts {
        let mut faults = account.close();
        // They are among the commands outstanding, which are counted where they were sent.
        faults.unanswered = 0;
        tally.faults.add(&faults);
    }
    let (refused, overtaken) = books::refusals(&all_books);
    tally.overtaken += overtaken;
    for (code, count) in refused {
        *tally.refused.entry(code).or_default() += count;
    }
    let from_us = scenario.warm_up_ms * 1_000;
    let until_us = from_us + scenario.length_ms * 1_000;
    let mut record = Record::new(from_us, until_us);
    if let Some(cut_us) = cut_us {
        record.ends_at(cut_us);
    }
    // Whether somebody was free when a customer came is known only now.
    let layout = Layout::new(scenario, plans);
    for (number, start_us) in books::had_room(&layout, &all_books) {
        let offered_us = all_books.iter().filter_map(|books| books.offered.get(&number)).min();
        if let Some(&offered_us) = offered_us {
            record.took(Measure::StartOffer, start_us, offered_us);
        }
    }
    Ok(Merged {
        record: record.merge(&records)?,
        tally,
    })
}
