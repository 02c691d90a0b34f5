//! What a queue's settings must be to be taken.

use super::draft::Draft;
use super::valid;
use crate::ids::{QueueId, SkillName};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{
    AtCap, EscalateAction, EscalateWhen, Order, QueueSettings, ReturnWhenFull, Ring, RingOpens, ShareRule, SkillChange,
    WhenClosed, WrapUp,
};

/// Queues, skills and calendars that it names must be in the draft. Whether its name is taken is asked by the caller.
pub(crate) fn check(d: &Draft<'_>, id: QueueId, s: &QueueSettings) -> Result<(), Rejection> {
    valid::name("name", &s.name)?;
    durations(s)?;
    if s.offer_timeout_ms == 0 && !s.auto_accept {
        return Err(valid::invalid("offer_timeout_ms", "an offer needs time to be answered"));
    }
    let at_once = usize::from(s.offers_at_once);
    if at_once == 0 {
        return Err(valid::invalid("offers_at_once", "0: the least is 1"));
    }
    valid::at_most("offers_at_once", at_once, limits::OFFERS_AT_ONCE_MAX)?;
    if at_once > 1 && s.auto_accept {
        return Err(valid::invalid(
            "offers_at_once",
            "one agent at a time is assigned without asking",
        ));
    }
    order(&s.order)?;
    texts(s)?;
    relaxations(d, s)?;
    valid::at_most("number of rings", s.rings.len(), limits::RINGS_MAX)?;
    s.rings.iter().try_for_each(ring)?;
    if let Some(calendar) = s.calendar {
        d.calendar(calendar)?;
    }
    if let WhenClosed::MoveQueue(to) = s.when_closed {
        moves(d, id, "when_closed", to)?;
    }
    cross_queue(s)?;
    escalations(d, id, s)
}

/// Queues that it may move conversations to.
pub(crate) fn leads_to(s: &QueueSettings) -> impl Iterator<Item = QueueId> {
    let escalations = s.escalations.iter().filter_map(|step| match step.action {
        EscalateAction::MoveQueue(to) => Some(to),
        _ => None,
    });
    let closed = match s.when_closed {
        WhenClosed::MoveQueue(to) => Some(to),
        _ => None,
    };
    escalations.chain(closed)
}

/// Skills that it names.
pub(crate) fn skills(s: &QueueSettings) -> impl Iterator<Item = &SkillName> {
    let relaxed = s.relaxations.iter().filter_map(|step| step.skill.as_ref());
    let asked = s.escalations.iter().filter_map(|step| match &step.action {
        EscalateAction::Reclassify { required, preferred } => Some(required.iter().chain(preferred)),
        _ => None,
    });
    relaxed.chain(asked.flatten().map(|one| &one.skill))
}

fn durations(s: &QueueSettings) -> Result<(), Rejection> {
    let mut all = vec![
        ("offer_timeout_ms", s.offer_timeout_ms),
        ("decline_exclude_ms", s.decline_exclude_ms),
        ("wait_max_ms", s.wait_max_ms),
        ("abandon_hold_ms", s.abandon_hold_ms),
        ("short_abandon_ms", s.short_abandon_ms),
        ("reopen_window_ms", s.reopen_window_ms),
        ("answer_target_ms", s.answer_target_ms),
        ("idle_pause_ms", s.idle_pause_ms),
        ("silent_abandon_ms", s.silent_abandon_ms),
    ];
    match s.wrap_up {
        WrapUp::None => {}
        WrapUp::Timed {
            length_ms,
            extension_max_ms,
        } => all.extend([("length_ms", length_ms), ("extension_max_ms", extension_max_ms)]),
        WrapUp::Manual { longest_ms } => all.push(("longest_ms", longest_ms)),
    }
    if let ReturnWhenFull::WaitForOwnerMs(ms) = s.return_when_full {
        all.push(("return_when_full", ms));
    }
    if let Some(no_reply) = &s.no_reply {
        all.extend([("after_ms", no_reply.after_ms), ("exclude_ms", no_reply.exclude_ms)]);
        if no_reply.after_ms == 0 {
            return Err(valid::invalid("after_ms", "an answer needs time"));
        }
    }
    all.into_iter().try_for_each(|(what, ms)| valid::duration(what, ms))
}

fn order(order: &Order) -> Result<(), Rejection> {
    match order {
        Order::StrictPriority => Ok(()),
        Order::LinearAgeing { step_ms } => valid::duration("step_ms", *step_ms),
        Order::AccumulatingPriority { rates } => {
            if rates.iter().all(|rate| *rate == 0) {
                return Err(valid::invalid("rates", "at least one must be above 0"));
            }
            if rates.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(valid::invalid(
                    "rates",
                    "a higher priority must not earn less than a lower one",
                ));
            }
            Ok(())
        }
        Order::EarliestDeadline { targets_ms } => {
            targets_ms.iter().try_for_each(|ms| valid::duration("targets_ms", *ms))
        }
    }
}

fn texts(s: &QueueSettings) -> Result<(), Rejection> {
    if let AtCap::Offline { text } = &s.at_cap {
        valid::at_most("offline text", text.len(), limits::BODY_MAX_BYTES)?;
    }
    if let WhenClosed::Offline { text } = &s.when_closed {
        valid::at_most("text when closed", text.len(), limits::BODY_MAX_BYTES)?;
    }
    Ok(())
}

fn relaxations(d: &Draft<'_>, s: &QueueSettings) -> Result<(), Rejection> {
    valid::at_most("number of relaxations", s.relaxations.len(), limits::RELAXATIONS_MAX)?;
    let mut earlier_ms = 0;
    for step in &s.relaxations {
        valid::duration("after_ms", step.after_ms)?;
        if step.after_ms < earlier_ms {
            return Err(valid::invalid("relaxations", "the steps are not in order of time"));
        }
        earlier_ms = step.after_ms;
        if let Some(skill) = step.skill.as_ref().filter(|skill| !d.skills().contains_key(*skill)) {
            return Err(Rejection::UnknownSkill(skill.0.clone()));
        }
        if let SkillChange::LowerBy(levels) = step.change {
            valid::level(levels)?;
        }
    }
    Ok(())
}

fn ring(ring: &Ring) -> Result<(), Rejection> {
    match ring.opens {
        RingOpens::AfterMs(ms) => valid::duration("after_ms", ms),
        RingOpens::While(ShareRule::LongestWaitAboveMs(ms) | ShareRule::EstimatedWaitAboveMs(ms)) => {
            valid::duration("above_ms", ms)
        }
        RingOpens::While(ShareRule::ServiceLevelBelow(percent)) => {
            valid::at_most("service level in percent", usize::from(percent), 100)
        }
        RingOpens::While(ShareRule::LengthAbove(_)) => Ok(()),
    }
}

fn cross_queue(s: &QueueSettings) -> Result<(), Rejection> {
    for (what, is) in [("weight", s.cross_queue.weight), ("cost", s.cross_queue.cost)] {
        if is == 0 {
            return Err(valid::invalid(what, "0: the least is 1"));
        }
    }
    Ok(())
}

fn moves(d: &Draft<'_>, id: QueueId, what: &str, to: QueueId) -> Result<(), Rejection> {
    if to == id {
        return Err(valid::invalid(what, "moves to the queue that it leaves"));
    }
    d.queue(to).map(|_| ())
}

fn escalations(d: &Draft<'_>, id: QueueId, s: &QueueSettings) -> Result<(), Rejection> {
    valid::at_most("number of escalations", s.escalations.len(), limits::ESCALATIONS_MAX)?;
    for step in &s.escalations {
        if let EscalateWhen::WaitedMs(ms) = step.when {
            valid::duration("waited_ms", ms)?;
            if ms == 0 {
                return Err(valid::invalid(
                    "waited_ms",
                    "0: name the other queue or priority to begin with",
                ));
            }
        }
        match &step.action {
            EscalateAction::RaisePriority(to) => valid::priority(*to)?,
            EscalateAction::MoveQueue(to) => moves(d, id, "escalation", *to)?,
            EscalateAction::Close { text } => {
                valid::at_most("escalation's text", text.len(), limits::BODY_MAX_BYTES)?;
            }
            EscalateAction::Reclassify { required, preferred } => {
                valid::at_most(
                    "number of skills asked for",
                    required.len() + preferred.len(),
                    limits::REQUIREMENTS_MAX,
                )?;
                valid::requirements(d, required)?;
                valid::requirements(d, preferred)?;
            }
        }
    }
    Ok(())
}
