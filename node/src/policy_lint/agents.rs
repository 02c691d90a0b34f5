//! Agents: what they can never be given.

use routing::ids::AgentId;
use routing::settings::AgentSettings;

use super::{Look, Thing, spot};

impl Look<'_> {
    pub(super) fn people(&mut self) {
        let agents = self.agents;
        for (id, agent) in agents {
            self.capacity(*id, agent);
            if agent.queues.is_empty() && !agent.supervisor {
                self.warning(
                    "agent_without_queues",
                    spot(Thing::Agent(*id), "queues"),
                    "nothing is offered to them",
                );
            }
            for (queue, how) in &agent.queues {
                let Some(settings) = self.policy.queues.get(queue) else {
                    self.error(
                        "unknown_queue",
                        spot(Thing::Agent(*id), "queues"),
                        "they serve a queue that is not in the policy",
                    );
                    continue;
                };
                if usize::from(how.tier) > settings.rings.len() {
                    let (queue, tier, rings) = (self.queue_name(*queue), how.tier, settings.rings.len());
                    let why = format!("tier {tier} of {queue} is never offered anything: it has {rings} rings");
                    self.warning("tier_without_ring", spot(Thing::Agent(*id), "queues"), why);
                }
            }
            for skill in agent
                .skills
                .keys()
                .filter(|skill| !self.policy.skills.contains_key(*skill))
            {
                let why = format!("there is no skill `{}` in the policy", skill.0);
                self.error("unknown_skill", spot(Thing::Agent(*id), "skills"), why);
            }
        }
    }

    fn capacity(&mut self, id: AgentId, agent: &AgentSettings) {
        let here = || spot(Thing::Agent(id), "channels");
        if agent.capacity.channels.is_empty() && !agent.queues.is_empty() {
            self.warning("agent_without_channels", here(), "no channel is served");
        }
        for (channel, one) in &agent.capacity.channels {
            let pool = if one.interruptible {
                agent.capacity.interruptible
            } else {
                agent.capacity.total
            };
            if one.concurrent_max == 0 || one.cost > pool {
                let (channel, cost) = (&channel.0, one.cost);
                let why = format!("one {channel} takes {cost} units of {pool}: it never fits");
                self.error("channel_never_fits", here(), why);
            }
        }
    }
}
