//! Drives a state, and a queue manager beside it, on a clock that the script moves.
//!
//! Beside the commands (see `parse.rs`):
//! - `wait 5s` moves the clock; nothing fires by itself.
//! - `due` fires every deadline that has passed, in order, as a queue manager would.
//! - `run [limit=N]` decides, applies and observes until the queue manager is quiet.
//! - `quiet all|people|decisions` shows less: no pictures for the queue manager, or no events at all.
//! - `reports on|off` shows rows of the KPIs one by one as they leave the state, or only how many.
//! - `restart` writes the state, reads it back, and starts another queue manager, as a new leader would.
//! - `show conversations|agents|queues|demands|timers|report|stream AGENT [after=N]|why CONVERSATION [AGENT]|words CONVERSATION [AGENT]|estimate CONVERSATION|decision
//!   CONVERSATION`.
//! - `draft`, `activate`, `show policies`, `show policy VERSION`: see `policy.rs`.
//! - any command may have `key=PRINCIPAL/INSTANCE/NUMBER` (`customer@bob/1/7`, `mia/1/7`, `admin@root/1/7`).

use std::error::Error;
use std::fmt::Write as _;

use goldenscript::{Command as Line, Context};
use routing::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey, Principal, Timer};
use routing::event::{Event, Receipt, TenantEvent};
use routing::ids::{AgentId, CustomerId, Millis, QueueId, TenantId};
use routing::invariants::{self, History};
use routing::queue_manager::{QueueManager, Settled};
use routing::rejection::Rejection;
use routing::settings::Policy;
use routing::state::State;
use routing::view::Views;
use routing::words;

use crate::parse::{self, Names, Words};
use crate::{policy, trace};

const TENANT: TenantId = TenantId(1);
/// A queue manager that is not quiet after so many rounds never will be.
const ROUNDS_MAX: usize = 1_000;

type Fallible<T> = Result<T, Box<dyn Error>>;

struct Said<'a>(&'a Names);

impl words::Names for Said<'_> {
    fn agent(&self, agent: AgentId) -> String {
        self.0.a(agent).to_owned()
    }

    fn queue(&self, queue: QueueId) -> String {
        self.0.q(queue).to_owned()
    }
}

#[derive(PartialEq)]
enum Show {
    All,
    People,
    Decisions,
}

/// A script's world: one tenant.
pub struct Runner {
    state: State,
    history: History,
    names: Names,
    queue_manager: Option<QueueManager>,
    index: u64,
    now_ms: Millis,
    show: Show,
    drafted: Option<Policy>,
    /// Whether rows of KPIs that leave are shown one by one.
    reports: bool,
}

impl Runner {
    pub fn new() -> Self {
        Self {
            state: State::new(),
            history: History::default(),
            names: Names::default(),
            queue_manager: None,
            index: 0,
            now_ms: 0,
            show: Show::All,
            drafted: None,
            reports: false,
        }
    }

    fn views(&self) -> Views {
        self.state
            .tenant(TENANT)
            .map(|tenant| tenant.views())
            .unwrap_or_default()
    }

    fn apply(
        &mut self,
        key: Option<IdempotencyKey>,
        command: Command,
        out: &mut String,
    ) -> Fallible<Result<Receipt, Rejection>> {
        self.index += 1;
        let envelope = Envelope {
            schema: COMMAND_SCHEMA,
            tenant: TENANT,
            key,
            command,
        };
        let (rows, mut events) = (self.state.rows_hash(), Vec::new());
        let result = self.state.apply(self.index, self.now_ms, &envelope, &mut events);
        let mut rows_left = 0;
        for TenantEvent { event, .. } in &events {
            self.history.observe(event)?;
            if let Some(queue_manager) = &mut self.queue_manager {
                queue_manager.observe(self.index, event);
            }
            let shown = match self.show {
                Show::All => true,
                Show::People => !trace::for_queue_manager(event),
                Show::Decisions => false,
            };
            let row = matches!(event, Event::ReportClosed { .. });
            rows_left += usize::from(row && shown);
            if shown && (self.reports || !row) {
                writeln!(out, "{}", self.names.event(event))?;
            }
        }
        if rows_left > 0 && !self.reports {
            writeln!(out, "rows of the report that left: {rows_left}")?;
        }
        if result.is_err() && (rows != self.state.rows_hash() || !events.is_empty()) {
            return Err("a refused command has changed something".into());
        }
        self.check(&events)?;
        Ok(result)
    }

    /// After every command: the invariants, the events folded, and the state through bytes and back.
    fn check(&mut self, _events: &[TenantEvent]) -> Fallible<()> {
        invariants::check(&self.state)?;
        if let Some(tenant) = self.state.tenant(TENANT) {
            self.history.check(tenant)?;
        }
        let back = self.through_bytes()?;
        invariants::check(&back)?;
        if back.full_hash() != self.state.full_hash() || back.digest() != self.state.digest() {
            return Err("the state that was read differs from the one that was written".into());
        }
        Ok(())
    }

    fn through_bytes(&self) -> Fallible<State> {
        let mut bytes = Vec::new();
        self.state.capture().write(&mut bytes)?;
        Ok(State::read(&mut bytes.as_slice())?)
    }

    fn refusal(&self, rejection: &Rejection) -> String {
        let mut said = rejection.to_string();
        for id in said
            .clone()
            .split(' ')
            .filter(|word| word.contains('_') && word.len() > 32)
        {
            if let Ok(agent) = id.parse() {
                said = said.replace(id, self.names.a(agent));
            } else if let Ok(queue) = id.parse() {
                said = said.replace(id, self.names.q(queue));
            } else if let Ok(conversation) = id.parse() {
                said = said.replace(id, self.names.c(conversation));
            }
        }
        format!("refused {}: {said}", rejection.code())
    }

    fn command(&mut self, line: &Line, out: &mut String) -> Fallible<()> {
        let mut words = Words::of(line);
        let key = words.key("key").map(|text| self.key(text)).transpose()?;
        let command = if line.name == "activate" {
            policy::activate(self.drafted.take(), &mut self.names, &mut words)?
        } else {
            parse::command(&mut self.names, &line.name, &mut words)?
                .ok_or_else(|| format!("no command `{}`", line.name))?
        };
        words.end()?;
        match self.apply(key, command, out)? {
            Err(rejection) => writeln!(out, "{}", self.refusal(&rejection))?,
            Ok(receipt) if receipt.repeated => {
                let at = trace::time(receipt.at_ms);
                writeln!(
                    out,
                    "repeated: at {at} seq={:?} epoch={:?}",
                    receipt.seq,
                    receipt.epoch.map(|e| e.0)
                )?;
            }
            Ok(_) if out.is_empty() && self.show == Show::All => writeln!(out, "nothing changed")?,
            Ok(_) => {}
        }
        Ok(())
    }

    fn key(&mut self, text: &str) -> Fallible<IdempotencyKey> {
        let parts: Vec<&str> = text.split('/').collect();
        let [who, instance, number] = parts[..] else {
            return Err("key=PRINCIPAL/INSTANCE/NUMBER".into());
        };
        let principal = match who.split_once('@') {
            Some(("customer", name)) => Principal::Customer(CustomerId(name.to_owned())),
            Some(("admin", name)) => Principal::Admin(name.to_owned()),
            _ => Principal::Agent(self.names.agent(who)),
        };
        Ok(IdempotencyKey {
            principal,
            instance: instance.parse()?,
            number: number.parse()?,
        })
    }

    /// Fires what has passed, earliest first, until nothing has.
    fn due(&mut self, out: &mut String) -> Fallible<()> {
        for _ in 0..ROUNDS_MAX {
            let Some(due) = self
                .views()
                .timers
                .first()
                .copied()
                .filter(|due| due.at_ms <= self.now_ms)
            else {
                return Ok(());
            };
            self.fire(due.timer, out)?;
        }
        Err("deadlines without end".into())
    }

    fn fire(&mut self, timer: Timer, out: &mut String) -> Fallible<()> {
        writeln!(out, "fire {}", self.names.timer(&timer))?;
        if let Err(rejection) = self.apply(None, Command::Fire { timer }, out)? {
            writeln!(out, "{}", self.refusal(&rejection))?;
        }
        Ok(())
    }

    /// The leader's loop: decide, apply, observe, settle, until there is nothing more to decide now.
    fn run_queue_manager(&mut self, limit: usize, out: &mut String) -> Fallible<()> {
        if self.queue_manager.is_none() {
            self.queue_manager = Some(QueueManager::starting_at(self.index, self.views()));
        }
        for _ in 0..ROUNDS_MAX {
            let now_ms = self.now_ms;
            let decisions = self
                .queue_manager
                .as_mut()
                .map(|qm| qm.decide(now_ms, limit))
                .unwrap_or_default();
            if decisions.is_empty() {
                return Ok(());
            }
            for decision in decisions {
                match &decision.command {
                    Command::Offer {
                        conversation,
                        agent,
                        explanation,
                    } => {
                        let (c, a) = (self.names.c(*conversation), self.names.a(*agent));
                        writeln!(out, "decided: offer {c} to {a} ({})", explanation.tie_break)?;
                    }
                    Command::OfferToMany {
                        conversation,
                        agents,
                        explanation,
                    } => {
                        let agents: Vec<&str> = agents.iter().map(|agent| self.names.a(*agent)).collect();
                        let (c, all) = (self.names.c(*conversation), agents.join(", "));
                        writeln!(out, "decided: offer {c} to {all} ({})", explanation.tie_break)?;
                    }
                    Command::Fire { timer } => writeln!(out, "decided: fire {}", self.names.timer(timer))?,
                    Command::ShareRing {
                        queue,
                        ring,
                        shared,
                        why,
                    } => {
                        let (verb, queue) = (if *shared { "share" } else { "end sharing" }, self.names.q(*queue));
                        writeln!(out, "decided: {verb} ring {ring} of {queue} ({why})")?;
                    }
                    other => writeln!(out, "decided: {other:?}")?,
                }
                let settled = match self.apply(None, decision.command, out)? {
                    Ok(_) => Settled::Applied,
                    Err(rejection) => {
                        writeln!(out, "{}", self.refusal(&rejection))?;
                        Settled::Rejected(rejection)
                    }
                };
                if let Some(queue_manager) = &mut self.queue_manager {
                    queue_manager.settle(decision.id, settled);
                }
            }
        }
        Err("decisions without end".into())
    }

    fn restart(&mut self) -> Fallible<()> {
        self.state = self.through_bytes()?;
        if self.queue_manager.is_some() {
            self.queue_manager = Some(QueueManager::starting_at(self.index, self.views()));
        }
        Ok(())
    }

    fn show(&mut self, words: &mut Words<'_>, out: &mut String) -> Fallible<()> {
        let what = words.next("what")?;
        if what == "why" {
            return self.why(words, out);
        }
        if what == "words" || what == "estimate" {
            return self.words(what, words, out);
        }
        if what == "decision" {
            return self.decision(words, out);
        }
        let tenant = self.state.tenant(TENANT).ok_or("no tenant yet")?;
        match what {
            "conversations" => {
                for view in tenant.conversations(None) {
                    let (last, read) = (view.last_seq, &view.read);
                    writeln!(out, "{} last={last} read={}", self.names.view(&view), read.len())?;
                }
            }
            "agents" => {
                for supply in tenant.views().supplies {
                    writeln!(out, "{}", self.names.supply(&supply))?;
                }
            }
            "queues" => {
                for queue in tenant.queues() {
                    let counts = tenant.queue_counts(queue.queue);
                    writeln!(
                        out,
                        "{} version={} {counts:?}",
                        self.names.q(queue.queue),
                        queue.version
                    )?;
                }
            }
            "demands" => {
                for demand in tenant.views().demands {
                    writeln!(out, "{}", self.names.demand(&demand))?;
                }
            }
            "report" => {
                for (key, figures) in tenant.report() {
                    writeln!(out, "{}", self.names.report(key, figures))?;
                }
            }
            "timers" => {
                for due in tenant.views().timers {
                    writeln!(out, "{} {}", trace::time(due.at_ms), self.names.timer(&due.timer))?;
                }
            }
            "stream" => {
                let agent = self.names.agent(words.next("agent")?);
                match self
                    .state
                    .tenant(TENANT)
                    .ok_or("no tenant")?
                    .agent_stream(agent, words.number("after", 0)?)
                {
                    Ok(items) => {
                        for item in items {
                            writeln!(out, "{}", self.names.event(&Event::Agent(item)))?;
                        }
                    }
                    Err(gap) => writeln!(out, "{gap}")?,
                }
            }
            "policies" => {
                for version in tenant.policies() {
                    writeln!(out, "{}", policy::version(&self.names, version))?;
                }
            }
            "policy" => match tenant.policy_of(words.next("version")?.parse()?) {
                Some(whole) => writeln!(out, "{}", policy::whole(&self.names, &whole))?,
                None => writeln!(out, "not kept")?,
            },
            other => return Err(format!("nothing to show of `{other}`").into()),
        }
        Ok(())
    }

    /// R39: why it was offered to whom it was offered last.
    fn decision(&mut self, words: &mut Words<'_>, out: &mut String) -> Fallible<()> {
        let conversation = self.names.conversation(words.next("conversation")?);
        let tenant = self.state.tenant(TENANT).ok_or("no tenant yet")?;
        let view = tenant.conversation(conversation).ok_or("no such conversation")?;
        let why = view.explanation.ok_or("it was never offered")?;
        let best: Vec<String> = why
            .best
            .iter()
            .map(|(agent, score)| format!("{}={score}", self.names.a(*agent)))
            .collect();
        let (version, considered, tie_break) = (why.policy_version, why.considered, &why.tie_break);
        writeln!(
            out,
            "policy={version} considered={considered} removed={:?}",
            why.removed
        )?;
        writeln!(out, "best: {} by {tie_break}", best.join(" "))?;
        if why.batch > 0 {
            writeln!(out, "batch of {}, part of the gain {}", why.batch, why.batch_gain)?;
        }
        Ok(())
    }

    /// The same in sentences; or place and estimate.
    fn words(&mut self, what: &str, words: &mut Words<'_>, out: &mut String) -> Fallible<()> {
        let conversation = self.names.conversation(words.next("conversation")?);
        let agent = words.more().map(|name| self.names.agent(name));
        let queue_manager = self.queue_manager.as_ref().ok_or("no queue manager yet")?;
        if what == "estimate" {
            let (place, wait) = (
                queue_manager.position(conversation),
                queue_manager.estimate(conversation),
            );
            writeln!(out, "position {place:?} {wait:?}")?;
            return Ok(());
        }
        let names = Said(&self.names);
        let said = match queue_manager.explain(conversation, agent) {
            Some(why) => words::why_waiting(&why, self.now_ms, &names),
            None => {
                let tenant = self.state.tenant(TENANT).ok_or("no tenant yet")?;
                let view = tenant.conversation(conversation).ok_or("no such conversation")?;
                let why = view.explanation.ok_or("it was never offered")?;
                let offer = words::Offer {
                    agent: view.agent.ok_or("nobody has it")?,
                    queue: view.queue.ok_or("it has no queue")?,
                    tier: 0,
                    relaxed: view.relaxed,
                };
                words::why_this(&offer, &why, &names)
            }
        };
        for sentence in said {
            writeln!(out, "{sentence}")?;
        }
        Ok(())
    }

    fn why(&mut self, words: &mut Words<'_>, out: &mut String) -> Fallible<()> {
        let conversation = self.names.conversation(words.next("conversation")?);
        let agent = words.more().map(|name| self.names.agent(name));
        let queue_manager = self
            .queue_manager
            .as_ref()
            .ok_or("no queue manager yet: `run` starts one")?;
        match queue_manager.explain(conversation, agent) {
            None => writeln!(out, "it does not wait")?,
            Some(why) => {
                let (ahead, considered, eligible) = (why.ahead, why.considered, why.eligible);
                writeln!(
                    out,
                    "in {} ahead={ahead} considered={considered} eligible={eligible}",
                    self.names.q(why.queue)
                )?;
                writeln!(out, "withheld={:?} removed={:?}", why.withheld, why.removed)?;
                if let Some(one) = why.agent {
                    writeln!(out, "{} fails {:?}", self.names.a(one.agent), one.failed)?;
                }
            }
        }
        Ok(())
    }
}

impl goldenscript::Runner for Runner {
    type Command = Line;

    fn run(&mut self, line: &Line, _context: &Context) -> Fallible<String> {
        let mut out = String::new();
        let mut words = Words::of(line);
        match line.name.as_str() {
            "wait" => {
                self.now_ms += parse::millis(words.next("duration")?)?;
                writeln!(out, "it is {}", trace::time(self.now_ms))?;
            }
            "due" => self.due(&mut out)?,
            "run" => {
                let limit = words.number("limit", 64)?;
                self.run_queue_manager(limit, &mut out)?;
                if out.is_empty() {
                    writeln!(out, "nothing to decide")?;
                }
            }
            "reports" => {
                self.reports = match words.next("on or off")? {
                    "on" => true,
                    "off" => false,
                    other => return Err(format!("reports `{other}`").into()),
                }
            }
            "quiet" => {
                self.show = match words.next("how much")? {
                    "all" => Show::All,
                    "people" => Show::People,
                    "decisions" => Show::Decisions,
                    other => return Err(format!("quiet `{other}`").into()),
                }
            }
            "restart" => self.restart()?,
            "draft" => {
                let tenant = self.state.tenant(TENANT);
                policy::draft(&mut self.drafted, tenant, &mut self.names, &mut words)?;
                words.end()?;
            }
            "show" => self.show(&mut words, &mut out)?,
            _ => self.command(line, &mut out)?,
        }
        Ok(out)
    }
}
