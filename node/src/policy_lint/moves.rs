//! From queue to queue: where it can go round in a circle.

use std::collections::{BTreeMap, BTreeSet};

use routing::ids::QueueId;
use routing::settings::{EscalateAction, QueueSettings, WhenClosed};

use super::{Look, Spot, Thing, spot, step};

/// Why a conversation is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// By an escalation, its step.
    Escalation(usize),
    /// Because the queue is closed.
    Closed,
}

/// Where a queue may move conversations to.
pub(super) fn leads_to(settings: &QueueSettings) -> impl Iterator<Item = (QueueId, Why)> {
    let steps = settings.escalations.iter().enumerate();
    let escalations = steps.filter_map(|(at, one)| match one.action {
        EscalateAction::MoveQueue(to) => Some((to, Why::Escalation(at))),
        _ => None,
    });
    let closed = match settings.when_closed {
        WhenClosed::MoveQueue(to) => Some((to, Why::Closed)),
        _ => None,
    };
    escalations.chain(closed)
}

fn spot_of(queue: QueueId, why: Why) -> Spot {
    match why {
        Why::Escalation(at) => step(Thing::Queue(queue), "escalations", at),
        Why::Closed => spot(Thing::Queue(queue), "closed_move_to"),
    }
}

impl Look<'_> {
    pub(super) fn moves(&mut self) {
        let policy = self.policy;
        for (id, settings) in &policy.queues {
            for (to, why) in leads_to(settings) {
                if !policy.queues.contains_key(&to) {
                    self.error(
                        "unknown_queue",
                        spot_of(*id, why),
                        "it moves to a queue that is not in the policy",
                    );
                }
            }
            if let WhenClosed::MoveQueue(to) = settings.when_closed {
                let same = policy
                    .queues
                    .get(&to)
                    .is_some_and(|other| other.calendar == settings.calendar);
                if settings.calendar.is_none() {
                    let why = "it is never closed: it has no calendar";
                    self.warning("closed_without_calendar", spot(Thing::Queue(*id), "when_closed"), why);
                } else if same {
                    let why = format!(
                        "{} has the same calendar: it is closed at the same time",
                        self.queue_name(to)
                    );
                    self.warning("closed_moves_to_closed", spot(Thing::Queue(*id), "closed_move_to"), why);
                }
            } else if settings.calendar.is_none() && settings.when_closed != WhenClosed::Refuse {
                let why = "it is never closed: it has no calendar";
                self.warning("closed_without_calendar", spot(Thing::Queue(*id), "when_closed"), why);
            }
        }
        self.circles("escalation_loop", "escalations move in a circle", |why| {
            matches!(why, Why::Escalation(_))
        });
        self.circles("closed_loop", "closed queues move in a circle", |why| {
            why == Why::Closed
        });
        self.mixed_circles();
    }

    /// Circles of moves of one kind: nobody would ever stay.
    fn circles(&mut self, code: &'static str, what: &str, of_kind: impl Fn(Why) -> bool) {
        let mut edges: BTreeMap<QueueId, Vec<(QueueId, Why)>> = BTreeMap::new();
        for (id, settings) in &self.policy.queues {
            edges.insert(*id, leads_to(settings).filter(|(_, why)| of_kind(*why)).collect());
        }
        for circle in circles(&edges) {
            let why = format!("{what}: {}", self.way(&circle));
            self.error(code, spot_of(circle[0].0, circle[0].1), why);
        }
    }

    /// Circles of both kinds together: they end when the closed one opens.
    fn mixed_circles(&mut self) {
        let queues = self.policy.queues.iter();
        let edges = queues
            .map(|(id, settings)| (*id, leads_to(settings).collect()))
            .collect();
        for circle in circles(&edges) {
            let closed = circle.iter().filter(|(_, why)| *why == Why::Closed).count();
            if closed > 0 && closed < circle.len() {
                let why = format!("escalations and closed queues move in a circle: {}", self.way(&circle));
                self.warning("mixed_loop", spot_of(circle[0].0, circle[0].1), why);
            }
        }
    }

    fn way(&self, circle: &[(QueueId, Why)]) -> String {
        let names = circle.iter().chain(circle.first()).map(|(id, _)| self.queue_name(*id));
        names.collect::<Vec<_>>().join(" → ")
    }
}

/// Circles, each once and from its lowest id: one for every edge that closes one in a walk in depth.
fn circles(edges: &BTreeMap<QueueId, Vec<(QueueId, Why)>>) -> Vec<Vec<(QueueId, Why)>> {
    let mut found: BTreeMap<Vec<QueueId>, Vec<(QueueId, Why)>> = BTreeMap::new();
    let mut done: BTreeSet<QueueId> = BTreeSet::new();
    for start in edges.keys() {
        // The way so far, and which edge of its last queue is next.
        let mut way: Vec<(QueueId, usize)> = vec![(*start, 0)];
        while let Some((id, next)) = way.last_mut() {
            let edge = edges.get(id).and_then(|edges| edges.get(*next)).copied();
            *next += 1;
            let Some((to, _)) = edge else {
                done.insert(*id);
                way.pop();
                continue;
            };
            if let Some(from) = way.iter().position(|(on_way, _)| *on_way == to) {
                let mut circle: Vec<(QueueId, Why)> = way[from..]
                    .iter()
                    .map(|(id, next)| (*id, edges[id][next - 1].1))
                    .collect();
                let lowest = (0..circle.len()).min_by_key(|at| circle[*at].0).unwrap_or(0);
                circle.rotate_left(lowest);
                found
                    .entry(circle.iter().map(|(id, _)| *id).collect())
                    .or_insert(circle);
            } else if !done.contains(&to) {
                way.push((to, 0));
            }
        }
    }
    found.into_values().collect()
}
