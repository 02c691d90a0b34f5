//! The highest rate of messages that keeps within a limit.

use anyhow::Result;

use super::MessagesArgs;
use super::drive::{self, Run};
use super::stage::Stage;
use crate::search::Search;

/// Searches. Gives whether all runs were correct, and the rate.
pub(super) async fn find_max(
    args: &MessagesArgs,
    stage: &Stage,
    show: &mut impl FnMut(&Run) -> Result<()>,
) -> Result<(bool, Option<f64>)> {
    let mut search = Search::from(args.rate);
    let mut correct = true;
    let mut number = 0;
    loop {
        if let Some(found) = search.ended() {
            return Ok((correct && found.is_some(), found));
        }
        number += 1;
        let run = drive::run(stage, args.plan(number, search.next)).await?;
        show(&run)?;
        // Too much load may be refused, but nothing may be lost, doubled or misordered.
        let faults = run.outcome.faults;
        correct &= faults.lost + faults.duplicated + faults.misordered + run.noted.gaps == 0;
        let p99_ms = run.outcome.ack_us.value_at_quantile(0.99) as f64 / 1e3;
        let kept_up = run.outcome.throughput >= 0.95 * run.plan.rate;
        search.learn(run.correct() && !run.broken_off && kept_up && p99_ms <= args.p99_ms);
    }
}
