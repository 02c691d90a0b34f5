//! What a conversation asks for is lowered as it waits (R4), and further agents join (R5, R6). Its place stays: neither age nor
//! priority nor order change.
//!
//! Steps and rings belong to one stay in a queue: an offer that comes to nothing keeps them, another queue, or a new wait after an
//! agent, begins with what was asked for and with tier 0.

use std::sync::Arc;

use super::conversation::{Alarm, Conversation};
use super::draft::Draft;
use super::queue::Queue;
use super::{timers, valid};
use crate::event::{Event, Receipt};
use crate::ids::{ConversationId, QueueId};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{QueueSettings, Relaxation, Requirement, RingOpens, SkillChange};

/// The skills that one conversation asks for, while steps are taken on them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asks {
    required: Vec<Requirement>,
    preferred: Vec<Requirement>,
}

impl Asks {
    /// One step. What an earlier step made preferred is still what was required, so a later one may drop it; what was only ever
    /// preferred (`asked_preferred`) is left alone.
    fn take(&mut self, step: &Relaxation, asked_preferred: &[Requirement]) {
        let concerns = |one: &Requirement| step.skill.as_ref().is_none_or(|skill| *skill == one.skill);
        match step.change {
            SkillChange::LowerBy(by) => {
                for one in self.required.iter_mut().filter(|one| concerns(one)) {
                    one.level = one.level.saturating_sub(by).max(*limits::SKILL_LEVELS.start());
                }
            }
            SkillChange::Prefer => {
                let (moved, stay) = std::mem::take(&mut self.required).into_iter().partition(concerns);
                self.required = stay;
                let moved: Vec<Requirement> = moved;
                for one in moved {
                    if self.preferred.iter().all(|wished| wished.skill != one.skill) {
                        self.preferred.push(one);
                    }
                }
                self.preferred.sort_unstable();
            }
            SkillChange::Drop => {
                self.required.retain(|one| !concerns(one));
                let only_wished = |one: &Requirement| asked_preferred.iter().any(|asked| asked.skill == one.skill);
                self.preferred.retain(|one| !concerns(one) || only_wished(one));
            }
        }
    }
}

fn asks(row: &Conversation) -> Asks {
    Asks {
        required: row.required.to_vec(),
        preferred: row.preferred.to_vec(),
    }
}

/// A new stay in a queue: what was asked for, and tier 0 alone.
pub(crate) fn start_over(row: &mut Conversation) {
    row.relaxed = 0;
    row.rings = 0;
    row.required = row.asked_required.clone();
    row.preferred = row.asked_preferred.clone();
}

/// The deadlines of steps and rings that are still ahead of a conversation that waits. A step that would change nothing has none: who
/// asks for nothing costs nothing.
pub(crate) fn set_alarms(row: &mut Conversation, settings: &QueueSettings) {
    row.alarms
        .retain(|(alarm, _)| !matches!(alarm, Alarm::Relaxation(_) | Alarm::RingOpens(_)));
    let since_ms = row.queue_since_ms;
    let mut left = asks(row);
    for (step, relaxation) in settings.relaxations.iter().enumerate() {
        if row.relaxed & (1 << step) != 0 {
            continue;
        }
        let before = left.clone();
        left.take(relaxation, &row.asked_preferred);
        if left != before {
            row.set_alarm(
                Alarm::Relaxation(step as u8),
                since_ms.saturating_add(relaxation.after_ms),
            );
        }
    }
    for (ring, opens) in rings(settings) {
        if let RingOpens::AfterMs(after_ms) = opens
            && row.rings & (1 << ring) == 0
        {
            row.set_alarm(Alarm::RingOpens(ring), since_ms.saturating_add(after_ms));
        }
    }
}

/// Rings by tier, from 1.
fn rings(settings: &QueueSettings) -> impl Iterator<Item = (u8, RingOpens)> + '_ {
    let numbered = settings.rings.iter().take(limits::RINGS_MAX).zip(1..);
    numbered.map(|(ring, tier)| (tier, ring.opens))
}

/// R4: a step is due. Steps before it that are due as well are taken first, so that they compose in their order whatever the order in
/// which their deadlines were noticed.
pub(crate) fn relax(d: &mut Draft<'_>, id: ConversationId, step: u8) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::Relaxation(step))?;
    let at_ms = d.at_ms;
    let row = d.conversation(id)?;
    let queue = row.queue.ok_or(Rejection::NothingOutstanding)?;
    let due: Vec<u8> = row
        .alarms
        .iter()
        .filter_map(|(alarm, due_ms)| match alarm {
            Alarm::Relaxation(earlier) if *earlier <= step && *due_ms <= at_ms => Some(*earlier),
            _ => None,
        })
        .collect();
    let settings = d.queue(queue)?.settings.clone();
    for step in due {
        let row = d.conversation_mut(id)?;
        row.relaxed |= 1 << step;
        row.clear_alarm(Alarm::Relaxation(step));
        // The settings may have changed since the alarm was set: what is done is what they say now.
        let Some(relaxation) = settings.relaxations.get(usize::from(step)) else {
            continue;
        };
        let mut left = asks(row);
        left.take(relaxation, &row.asked_preferred.clone());
        let shared = &d.base().index.requirements;
        let (required, preferred) = (
            shared.share(Arc::from(left.required)),
            shared.share(Arc::from(left.preferred)),
        );
        let row = d.conversation_mut(id)?;
        row.required = required;
        row.preferred = preferred;
        d.tell(Event::Relaxed {
            conversation: id,
            queue,
            step,
        });
    }
    Ok(d.receipt_for(id))
}

/// R5: a ring opens for a conversation.
pub(crate) fn ring_opens(d: &mut Draft<'_>, id: ConversationId, ring: u8) -> Result<Receipt, Rejection> {
    timers::must_ring(d, id, None, Alarm::RingOpens(ring))?;
    let row = d.conversation_mut(id)?;
    row.clear_alarm(Alarm::RingOpens(ring));
    let queue = row.queue.ok_or(Rejection::NothingOutstanding)?;
    let opens = rings(&d.queue(queue)?.settings).find(|(tier, _)| *tier == ring);
    if let Some((_, RingOpens::AfterMs(_))) = opens {
        d.conversation_mut(id)?.rings |= 1 << ring;
        d.tell(Event::RingOpened {
            conversation: id,
            queue,
            ring,
        });
    }
    Ok(d.receipt_for(id))
}

/// R6: the queue manager found that a ring's rule holds, or no longer.
pub(crate) fn share_ring(
    d: &mut Draft<'_>,
    id: QueueId,
    ring: u8,
    shared: bool,
    why: &str,
) -> Result<Receipt, Rejection> {
    valid::at_most("why", why.len(), limits::REMARK_MAX_BYTES)?;
    let row = d.queue(id)?;
    match rings(&row.settings).find(|(tier, _)| *tier == ring) {
        Some((_, RingOpens::While(_))) => {}
        Some((_, RingOpens::AfterMs(_))) => {
            return Err(valid::invalid(
                "ring",
                format!("{ring} opens by time and is not shared"),
            ));
        }
        None => {
            let last = row.settings.rings.len();
            return Err(valid::invalid("ring", format!("{ring} is not one of 1 to {last}")));
        }
    }
    let bits = match shared {
        true => row.shared_rings | 1 << ring,
        false => row.shared_rings & !(1 << ring),
    };
    if bits != row.shared_rings {
        d.put_queue(
            id,
            Some(Arc::new(Queue {
                shared_rings: bits,
                ..Queue::clone(&row)
            })),
        );
        d.tell(Event::RingShared {
            queue: id,
            ring,
            shared,
            why: why.to_owned(),
        });
    }
    Ok(d.receipt())
}

/// What is still shared once the settings are these.
pub(crate) fn still_shared(settings: &QueueSettings, shared: u8) -> u8 {
    let may_be = rings(settings).filter(|(_, opens)| matches!(opens, RingOpens::While(_)));
    may_be.fold(0, |bits, (tier, _)| bits | 1 << tier) & shared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::SkillName;

    fn list(asked: &[(&str, u8)]) -> Vec<Requirement> {
        let one = |(skill, level): &(&str, u8)| Requirement {
            skill: SkillName((*skill).to_owned()),
            level: *level,
        };
        asked.iter().map(one).collect()
    }

    fn step(skill: Option<&str>, change: SkillChange) -> Relaxation {
        Relaxation {
            after_ms: 1,
            skill: skill.map(|skill| SkillName(skill.to_owned())),
            change,
        }
    }

    fn after(required: &[(&str, u8)], preferred: &[(&str, u8)], steps: &[Relaxation]) -> Asks {
        let asked_preferred = list(preferred);
        let mut left = Asks {
            required: list(required),
            preferred: asked_preferred.clone(),
        };
        steps.iter().for_each(|step| left.take(step, &asked_preferred));
        left
    }

    #[test]
    fn a_level_falls_to_one_and_no_further() {
        let left = after(
            &[("billing", 5), ("ja", 3)],
            &[("wine", 9)],
            &[
                step(Some("billing"), SkillChange::LowerBy(2)),
                step(None, SkillChange::LowerBy(4)),
            ],
        );
        assert_eq!(left.required, list(&[("billing", 1), ("ja", 1)]));
        assert_eq!(left.preferred, list(&[("wine", 9)]));
    }

    #[test]
    fn preferred_after_lowered_has_the_lowered_level_and_its_place() {
        let left = after(
            &[("billing", 5), ("ja", 3)],
            &[("apples", 1), ("wine", 9)],
            &[
                step(Some("billing"), SkillChange::LowerBy(2)),
                step(Some("billing"), SkillChange::Prefer),
            ],
        );
        assert_eq!(left.required, list(&[("ja", 3)]));
        assert_eq!(left.preferred, list(&[("apples", 1), ("billing", 3), ("wine", 9)]));
    }

    #[test]
    fn what_became_preferred_can_still_be_dropped_and_wishes_stay() {
        let left = after(
            &[("billing", 5), ("ja", 3)],
            &[("ja", 9), ("wine", 9)],
            &[step(None, SkillChange::Prefer), step(None, SkillChange::Drop)],
        );
        assert_eq!(left.required, list(&[]));
        assert_eq!(left.preferred, list(&[("ja", 9), ("wine", 9)]));
    }
}
