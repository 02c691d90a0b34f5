//! A verdict in words.

use std::fmt::Write as _;

use super::{Model, Moment, OperationOf, Verdict};

/// Of the order that goes well, so many operations are shown.
const LAST: usize = 25;
/// Of those that do not fit, so many.
const STUCK: usize = 40;

pub(super) fn text<M: Model>(verdict: &Verdict, model: &M, operations: &[OperationOf<M>]) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = write_all(&mut text, verdict, model, operations);
    text
}

fn write_all<M: Model>(
    text: &mut String,
    verdict: &Verdict,
    model: &M,
    operations: &[OperationOf<M>],
) -> std::fmt::Result {
    let (all, order) = (operations.len(), verdict.order());
    match verdict {
        Verdict::Linearizable { steps, .. } => writeln!(text, "linearizable: {all} operations, {steps} steps")?,
        Verdict::Unknown { steps, .. } => {
            writeln!(
                text,
                "not decided: {all} operations, the budget of {steps} steps is spent"
            )?;
        }
        Verdict::Violation(violation) => writeln!(
            text,
            "not linearizable: of {all} operations at most {} can be placed in an order ({} steps)",
            order.len(),
            violation.steps
        )?,
    }
    if order.len() > LAST {
        writeln!(text, "  … {} before", order.len() - LAST)?;
    }
    let shown = order.iter().enumerate().skip(order.len().saturating_sub(LAST));
    for (place, &at) in shown {
        writeln!(text, "  {:>5}. {}", place + 1, line(model, &operations[at]))?;
    }
    let Verdict::Violation(violation) = verdict else {
        return Ok(());
    };
    writeln!(text, "then it is: {}", violation.state)?;
    writeln!(text, "and none of these can be next:")?;
    for stuck in violation.stuck.iter().take(STUCK) {
        writeln!(text, "       ✗ {}", line(model, &operations[stuck.operation]))?;
        writeln!(text, "         {}", stuck.why)?;
    }
    if violation.stuck.len() > STUCK {
        writeln!(text, "       … and {} more", violation.stuck.len() - STUCK)?;
    }
    writeln!(text, "while {} with an answer were called later", violation.later)
}

fn line<M: Model>(model: &M, operation: &OperationOf<M>) -> String {
    let returned = match operation.ends() {
        Some(returned) => Moment(returned).to_string(),
        None => "…".to_owned(),
    };
    format!(
        "{} – {returned}  {}: {}",
        Moment(operation.call),
        operation.client,
        model.words(&operation.input, &operation.outcome)
    )
}
