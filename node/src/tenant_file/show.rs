//! What a file says, in a few lines for people.

use std::fmt;

use super::TenantFile;

impl fmt::Display for TenantFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tenant {}", self.name)?;
        writeln!(f, "  skills  {}", self.skills.len())?;
        for queue in &self.queues {
            let agents = self.agents.iter().filter(|agent| {
                agent
                    .queues
                    .keys()
                    .any(|id| self.queues.get(id.0 as usize - 1).is_some_and(|q| q.name == queue.name))
            });
            writeln!(f, "  queue   {:<20} {} agents", queue.name, agents.count())?;
        }
        for agent in &self.agents {
            let role = if agent.supervisor { "supervisor" } else { "agent" };
            writeln!(
                f,
                "  {role:<10} {:<20} {} queues, {} skills",
                agent.name,
                agent.queues.len(),
                agent.skills.len()
            )?;
        }
        for calendar in &self.calendars {
            writeln!(
                f,
                "  calendar {:<19} {}, {} exceptions",
                calendar.name,
                calendar.zone,
                calendar.exceptions.len()
            )?;
        }
        for rule in &self.rules {
            writeln!(f, "  rule    {:<20} {}", rule.name, rule.when)?;
        }
        writeln!(
            f,
            "  keys    {}",
            self.keys
                .iter()
                .map(|key| key.kid.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        )
    }
}
