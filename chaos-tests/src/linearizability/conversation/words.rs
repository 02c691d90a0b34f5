//! Operations and states for people.

use super::{Holder, State};
use crate::history::{By, Held, Input, Name, Outcome, Output, Phase, Presence, Shown};

fn by(by: &By) -> String {
    match by {
        By::Customer => " by the customer".to_owned(),
        By::Other => " from beside".to_owned(),
        By::Owner {
            agent,
            epoch: Some(epoch),
        } => format!(" by {agent} under {epoch}"),
        By::Owner { agent, epoch: None } => format!(" by {agent}"),
    }
}

pub(in crate::linearizability) fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waiting",
        Phase::Offered => "offered",
        Phase::Assigned => "assigned",
        Phase::Paused => "paused",
        Phase::WrapUp => "wrap_up",
        Phase::Closed => "closed",
        Phase::Scheduled => "scheduled",
    }
}

pub(in crate::linearizability) fn presence(presence: &Presence) -> String {
    match presence {
        Presence::Offline => "offline".to_owned(),
        Presence::Available => "available".to_owned(),
        Presence::Away(reason) => format!("away ({reason})"),
        Presence::Draining => "draining".to_owned(),
        Presence::Suspect => "suspect".to_owned(),
    }
}

fn input(input: &Input) -> String {
    match input {
        Input::Post { text, by: who, .. } => format!("post `{text}`{}", by(who)),
        Input::Entry { kind, by: who, .. } => format!("{kind}{}", by(who)),
        Input::Entries { after, staff, .. } => {
            format!("read after {after}{}", if *staff { " as staff" } else { "" })
        }
        Input::Look { .. } => "look".to_owned(),
        Input::Accept { agent, epoch, .. } => format!("{agent} accepts under {epoch}"),
        Input::Decline { agent, epoch, .. } => format!("{agent} declines under {epoch}"),
        Input::Assign { agent, .. } => format!("assign to {agent}"),
        Input::Transfer { by: who, .. } => format!("transfer{}", by(who)),
        Input::CompleteTransfer { by: who, to, .. } => format!("transfer to {to}{}", by(who)),
        Input::Close { by: who, .. } => format!("close{}", by(who)),
        Input::Reopen { by: who, .. } => format!("reopen{}", by(who)),
        Input::FinishWrapUp { agent, epoch, .. } => format!("{agent} finishes the wrap-up under {epoch}"),
        Input::SignIn { presence: wish, .. } => format!("sign in {}", presence(wish)),
        Input::SignOut { .. } => "sign out".to_owned(),
        Input::SetPresence { presence: wish, .. } => format!("set {}", presence(wish)),
        Input::Record { .. } => "read the record".to_owned(),
        Input::Desk { .. } => "read the desk".to_owned(),
    }
}

fn shown(Shown { seq, text }: &Shown) -> String {
    text.as_ref()
        .map_or_else(|| format!("{seq}"), |text| format!("{seq} `{text}`"))
}

/// The last few of a list; the whole is in the file.
fn last_of<T>(all: &[T], one: impl Fn(&T) -> String) -> String {
    let shown: Vec<String> = all.iter().skip(all.len().saturating_sub(6)).map(one).collect();
    let more = if all.len() > 6 { "…, " } else { "" };
    format!("[{more}{}]", shown.join(", "))
}

fn output(output: &Output) -> String {
    match output {
        Output::Ack { seq, epoch } => {
            let seq = seq.map(|seq| format!(" seq {seq}"));
            let epoch = epoch.map(|epoch| format!(" epoch {epoch}"));
            format!("ack{}{}", seq.unwrap_or_default(), epoch.unwrap_or_default())
        }
        Output::Entries { entries, more } => {
            format!("{}{}", last_of(entries, shown), if *more { " and more" } else { "" })
        }
        Output::Look {
            phase: is,
            agent,
            epoch,
            last_seq,
        } => {
            let agent = agent.as_ref().map(|agent| format!(" {agent}")).unwrap_or_default();
            format!("{}{agent}, epoch {epoch}, last seq {last_seq}", phase(*is))
        }
        Output::Record {
            presence: is,
            load,
            agent_seq,
        } => format!("{}, load {load}, agent seq {agent_seq}", presence(is)),
        Output::Desk { conversations } => {
            let held = |held: &Held| format!("{} {} under {}", held.conversation, phase(held.phase), held.epoch);
            last_of(conversations, held)
        }
    }
}

pub(in crate::linearizability) fn operation(asked: &Input, outcome: &Outcome<Output>) -> String {
    match outcome {
        Outcome::Done(answer) => format!("{} → {}", input(asked), output(answer)),
        Outcome::Refused(code) => format!("{} → refused: {code}", input(asked)),
        Outcome::Unknown => format!("{} → unknown", input(asked)),
    }
}

pub(super) fn state(state: &State) -> String {
    let holder = match &state.holder {
        Holder::Agent(agent) => format!("{agent}'s"),
        Holder::Nobody => "nobody's".to_owned(),
        Holder::Lost => "taken from its owner".to_owned(),
        Holder::Unknown => "not known whose".to_owned(),
    };
    let passed: Vec<&str> = state.passed.iter().map(Name::as_ref).collect();
    let passed = match passed.is_empty() {
        true => String::new(),
        false => format!(", not offered any more to {}", passed.join(", ")),
    };
    format!(
        "{}, {} messages, seq at least {}, epoch at least {} ({holder}{passed})",
        if state.open { "open" } else { "closed" },
        state.messages,
        state.last,
        state.epoch
    )
}
