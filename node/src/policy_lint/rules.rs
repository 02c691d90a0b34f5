//! Rules, their parts, the fallback.

use std::collections::{BTreeMap, BTreeSet};

use routing::ids::{QueueId, SkillName};
use routing::settings::{Classification, EscalateAction, Requirement};

use super::{Look, Thing, spot};
use crate::rules::{check_all, constant};

impl Look<'_> {
    pub(super) fn rules(&mut self) {
        let policy = self.policy;
        for (rule, error) in check_all(&policy.rules, policy.fallback.as_ref()) {
            let at = match rule {
                Some(at) => spot(Thing::Rule(at, None), "when"),
                None => spot(Thing::Fallback, ""),
            };
            self.error("rule_invalid", at, error.to_string());
        }
        self.shadows();
        for (at, rule) in policy.rules.iter().enumerate() {
            for (part, (weight, given)) in rule.parts.iter().enumerate() {
                // A part that is the whole rule is written as the rule itself.
                let thing = Thing::Rule(at, (rule.parts.len() > 1).then_some(part));
                if *weight == 0 && rule.parts.len() > 1 {
                    self.warning(
                        "split_part_never",
                        spot(thing.clone(), "weight"),
                        "its weight is 0: it is never taken",
                    );
                }
                self.classification(thing, given);
            }
        }
        match &policy.fallback {
            Some(given) => self.classification(Thing::Fallback, given),
            None => {
                let catches_all = policy.rules.iter().any(|rule| constant(&rule.when) == Some(true));
                if !catches_all {
                    let why = "there is none, and no rule is always true: what no rule matches is refused";
                    self.warning("fallback_missing", spot(Thing::Fallback, ""), why);
                }
            }
        }
        self.unreached();
    }

    fn shadows(&mut self) {
        let mut always: Option<&str> = None;
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (at, rule) in self.policy.rules.iter().enumerate() {
            let here = spot(Thing::Rule(at, None), "when");
            if let Some(earlier) = always {
                let why = format!("never looked at: the rule `{earlier}` before it is always true");
                self.warning("rule_shadowed", here, why);
                continue;
            }
            if let Some(earlier) = seen.insert(rule.when.trim(), &rule.name) {
                let why = format!("never true first: the rule `{earlier}` before it asks the same");
                self.warning("rule_shadowed", here, why);
                continue;
            }
            match constant(&rule.when) {
                Some(true) => always = Some(&rule.name),
                Some(false) => self.warning("rule_never", here, "it is never true"),
                None => {}
            }
        }
    }

    /// What a rule or the fallback gives.
    fn classification(&mut self, thing: Thing, given: &Classification) {
        let policy = self.policy;
        for (key, asked) in [("required", &given.required), ("preferred", &given.preferred)] {
            self.known_skills(&thing, key, asked);
        }
        for one in &given.preferred {
            let somebody = self.agents.values().any(|agent| agent.skills.contains_key(&one.skill));
            if !self.agents.is_empty() && !somebody {
                let why = format!("nobody has the skill `{}`: it adds to no score", one.skill.0);
                self.warning("preferred_skill_unknown_to_all", spot(thing.clone(), "preferred"), why);
            }
        }
        let known: Vec<QueueId> = given
            .queues
            .iter()
            .copied()
            .filter(|id| policy.queues.contains_key(id))
            .collect();
        if known.len() < given.queues.len() {
            self.error(
                "unknown_queue",
                spot(thing.clone(), "queues"),
                "it names a queue that is not in the policy",
            );
        }
        if let Some(preference) = &given.preferred_agent {
            let here = spot(thing.clone(), "preferred_agent");
            if !self.agents.is_empty() && !self.agents.contains_key(&preference.agent) {
                self.error("unknown_agent", here.clone(), "it prefers an agent who is not there");
            }
            let target_ms = known.first().map_or(0, |id| policy.queues[id].answer_target_ms);
            if preference.wait_ms > target_ms && target_ms > 0 {
                let why = format!(
                    "the preferred agent is waited for {} ms, longer than the queue's answer target of {target_ms} ms",
                    preference.wait_ms
                );
                self.warning("preference_beyond_target", here, why);
            }
        }
        if !self.agents.is_empty() {
            self.satisfiable(&thing, given, &known);
        }
    }

    pub(super) fn known_skills(&mut self, thing: &Thing, key: &'static str, asked: &[Requirement]) {
        for one in asked {
            if !self.policy.skills.contains_key(&one.skill) {
                let why = format!("there is no skill `{}` in the policy", one.skill.0);
                self.error("unknown_skill", spot(thing.clone(), key), why);
            }
        }
    }

    /// Whether anybody can ever serve what is classified so, wherever it is moved.
    fn satisfiable(&mut self, thing: &Thing, given: &Classification, known: &[QueueId]) {
        let able: Vec<bool> = known.iter().map(|id| self.serves(*id, &given.required)).collect();
        for (id, able) in known.iter().zip(&able) {
            // A queue without anybody is reported once, as such.
            if *able || self.members(*id).is_empty() {
                continue;
            }
            let asked: Vec<String> = given
                .required
                .iter()
                .map(|one| format!("{} {}", one.skill.0, one.level))
                .collect();
            let (queue, asked) = (self.queue_name(*id), asked.join(", "));
            let here = spot(thing.clone(), "required");
            if self.moves_on(*id, &given.required) {
                let why = format!(
                    "no agent of {queue} has {asked}, after relaxation too: it waits there only to be moved on"
                );
                self.warning("rule_needs_escalation", here, why);
            } else {
                let why = format!("no agent of {queue} has {asked}, after relaxation too: it would wait for ever");
                self.error("rule_unsatisfiable", here, why);
            }
        }
    }

    fn serves(&self, id: QueueId, required: &[Requirement]) -> bool {
        let settings = self.policy.queues.get(&id);
        settings.is_some_and(|settings| self.can_serve(id, settings, required))
    }

    /// Whether escalations end in somebody who can, or in an end.
    fn moves_on(&self, id: QueueId, required: &[Requirement]) -> bool {
        let mut seen: BTreeSet<(QueueId, Vec<Requirement>)> = BTreeSet::new();
        let mut to_see = vec![(id, required.to_vec())];
        while let Some((id, required)) = to_see.pop() {
            if !seen.insert((id, required.clone())) {
                continue;
            }
            let Some(settings) = self.policy.queues.get(&id) else {
                continue;
            };
            if self.can_serve(id, settings, &required) {
                return true;
            }
            for step in &settings.escalations {
                match &step.action {
                    EscalateAction::Close { .. } => return true,
                    EscalateAction::MoveQueue(to) => to_see.push((*to, required.clone())),
                    EscalateAction::Reclassify { required, .. } => to_see.push((id, required.clone())),
                    EscalateAction::RaisePriority(_) => {}
                }
            }
        }
        false
    }

    /// Queues that nothing leads to, skills that nothing asks for.
    fn unreached(&mut self) {
        let policy = self.policy;
        let parts = policy
            .rules
            .iter()
            .flat_map(|rule| rule.parts.iter().map(|(_, given)| given));
        let given: Vec<&Classification> = parts.chain(&policy.fallback).collect();
        let mut reached: BTreeSet<QueueId> = given.iter().flat_map(|given| given.queues.iter().copied()).collect();
        let mut asked: BTreeSet<&SkillName> = BTreeSet::new();
        asked.extend(
            given
                .iter()
                .flat_map(|given| given.required.iter().chain(&given.preferred))
                .map(|one| &one.skill),
        );
        for settings in policy.queues.values() {
            reached.extend(super::moves::leads_to(settings).map(|(to, _)| to));
            for step in &settings.escalations {
                if let EscalateAction::Reclassify { required, preferred } = &step.action {
                    asked.extend(required.iter().chain(preferred).map(|one| &one.skill));
                }
            }
        }
        for id in policy.queues.keys().filter(|id| !reached.contains(*id)) {
            let why = "no rule, escalation or closed queue leads here: only transfers and requests that name it";
            self.warning("queue_unreached", spot(Thing::Queue(*id), ""), why);
        }
        for skill in policy.skills.keys().filter(|skill| !asked.contains(*skill)) {
            let why = "no rule and no escalation asks for it: only requests that name it";
            self.warning("skill_unasked", spot(Thing::Skill(skill.clone()), ""), why);
        }
    }
}
