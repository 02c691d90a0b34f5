//! KPIs of a period and of this moment, for supervisors; the same for administrators in [`super::admin::reports`].

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use routing::ids::{AgentId, Channel, Millis, QueueId, TenantId};
use routing::report::{QUARTER_HOUR_MS, quarter_hour_of};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::caller::Caller;
use super::input::Asked;
use super::model::report::{LiveBody, Report, ReportRow};
use super::problem::Problem;
use super::{ApiState, Reply};
use crate::access::Identity;
use crate::query::{Answer, Query};
use crate::reports::{Grouping, ReportQuestion};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().routes(routes!(report)).routes(routes!(live))
}

/// Which report.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// From the quarter hour (UTC) that this moment is in, Unix milliseconds.
    pub from_ms: Millis,
    /// Quarter hours that begin before this moment.
    pub until_ms: Millis,
    /// By what lines are told apart: any of `quarter`, `queue`, `agent`, `channel`, with commas between them. None: one line.
    #[param(example = "queue,quarter")]
    pub by: Option<String>,
    /// Of this queue only.
    #[param(value_type = Option<String>)]
    pub queue: Option<QueueId>,
    /// Of this agent only. Agents and queues are two views of the same work and cannot be asked for together.
    #[param(value_type = Option<String>)]
    pub agent: Option<AgentId>,
    /// Of this channel only.
    #[param(value_type = Option<String>)]
    pub channel: Option<Channel>,
    /// `json` or `csv`; otherwise `Accept: text/csv` gives CSV.
    #[param(example = "csv")]
    pub format: Option<String>,
}

fn grouping(by: &str) -> Result<Grouping, Problem> {
    let mut grouping = Grouping::default();
    for word in by.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "quarter" => grouping.quarter = true,
            "queue" => grouping.queue = true,
            "agent" => grouping.agent = true,
            "channel" => grouping.channel = true,
            // Lines are the tenant's anyway.
            "tenant" => {}
            other => {
                let detail = format!("by: `{other}` is none of quarter, queue, agent, channel, tenant");
                return Err(Problem::bad_request("bad_parameter", detail));
            }
        }
    }
    Ok(grouping)
}

impl Wanted {
    fn question(&self) -> Result<ReportQuestion, Problem> {
        let no = |detail: &str| Err(Problem::bad_request("bad_parameter", detail));
        if self.from_ms >= self.until_ms {
            return no("the period is empty: from_ms is not before until_ms");
        }
        let question = ReportQuestion {
            from_ms: self.from_ms,
            until_ms: self.until_ms,
            by: grouping(self.by.as_deref().unwrap_or_default())?,
            queue: self.queue,
            agent: self.agent,
            channel: self.channel.clone(),
        };
        if question.is_of_agents() && question.is_of_queues() {
            return no("queues and agents are two views of the same work: ask for one of them");
        }
        Ok(question)
    }

    fn wants_csv(&self, headers: &HeaderMap) -> Result<bool, Problem> {
        match self.format.as_deref() {
            Some("csv") => Ok(true),
            Some("json") => Ok(false),
            Some(other) => Err(Problem::bad_request(
                "bad_parameter",
                format!("format: `{other}` is neither json nor csv"),
            )),
            None => {
                let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
                Ok(accept.is_some_and(|accept| accept.contains("text/csv")))
            }
        }
    }
}

/// Supervisors only.
fn oversees(identity: &Identity) -> Result<(), Problem> {
    if identity.oversees() {
        return Ok(());
    }
    Err(Problem::forbidden("not permitted: this needs a supervisor"))
}

/// A report of a tenant, in the form that was asked for.
pub(crate) async fn answer(
    state: &ApiState,
    tenant: TenantId,
    wanted: &Wanted,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    let (question, csv) = (wanted.question()?, wanted.wants_csv(headers)?);
    let (from_ms, until_ms) = (quarter_hour_of(question.from_ms), question.until_ms);
    let Answer::Report(lines) = state.ask(tenant, Query::Report(question)).await? else {
        return Err(Problem::internal());
    };
    let rows: Vec<ReportRow> = lines.iter().map(ReportRow::from).collect();
    if !csv {
        let report = Report {
            from_ms,
            until_ms: until_ms.div_ceil(QUARTER_HOUR_MS).saturating_mul(QUARTER_HOUR_MS),
            rows,
        };
        return Ok(axum::Json(report).into_response());
    }
    let text = csv_of(&rows).map_err(|_| Problem::internal())?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], text).into_response())
}

/// A header line and one line per row (RFC 4180). A heading stands also over nothing.
pub(crate) fn csv_of(rows: &[ReportRow]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if rows.is_empty() {
        let mut heading = csv::Writer::from_writer(Vec::new());
        heading.serialize(ReportRow::default())?;
        let text = heading.into_inner().map_err(|error| error.into_error())?;
        let end = text
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(text.len(), |at| at + 1);
        return Ok(text[..end].to_vec());
    }
    for row in rows {
        writer.serialize(row)?;
    }
    Ok(writer.into_inner().map_err(|error| error.into_error())?)
}

/// The tenant now.
pub(crate) async fn now(state: &ApiState, tenant: TenantId) -> Reply<LiveBody> {
    match state.ask(tenant, Query::ReportLive).await? {
        Answer::ReportLive(live) => Ok(axum::Json(LiveBody::from(*live))),
        _ => Err(Problem::internal()),
    }
}

/// KPIs of a period: exact sums per quarter hour, and the formulas over them. The current quarter hour is told of as far as it has come.
#[utoipa::path(
    get, path = "/v1/reports", tag = "reports", params(Wanted),
    responses((status = 200, description = "JSON, or CSV with the same names as headings", body = Report))
)]
pub async fn report(
    State(state): State<ApiState>,
    Caller(identity): Caller,
    headers: HeaderMap,
    Asked(wanted): Asked<Wanted>,
) -> Result<Response, Problem> {
    oversees(&identity)?;
    answer(&state, identity.tenant, &wanted, &headers).await
}

/// KPIs now: the current quarter hour and the last four, who waits and for how long, and how evenly work is spread.
#[utoipa::path(get, path = "/v1/reports/live", tag = "reports", responses((status = 200, body = LiveBody)))]
pub async fn live(State(state): State<ApiState>, Caller(identity): Caller) -> Reply<LiveBody> {
    oversees(&identity)?;
    now(&state, identity.tenant).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_one_heading_and_the_same_columns_in_every_line() {
        let mut row = ReportRow {
            name: Some("support, \"first\" line".to_owned()),
            service_level: Some(0.7778),
            ..ReportRow::default()
        };
        row.arrived = 100;
        let text = csv_of(&[row.clone(), row]).expect("to memory");
        let mut reader = csv::Reader::from_reader(text.as_slice());
        let back: Vec<ReportRow> = reader.deserialize().map(|row| row.expect("a row")).collect();
        assert_eq!(back.len(), 2);
        assert_eq!(back[0].name.as_deref(), Some("support, \"first\" line"));
        assert_eq!((back[1].arrived, back[1].service_level), (100, Some(0.7778)));
        let nothing = String::from_utf8(csv_of(&[]).expect("to memory")).expect("text");
        assert_eq!(nothing.lines().count(), 1);
        assert!(nothing.starts_with("quarter_ms,queue,agent,name,channel,service_level,"));
    }

    #[test]
    fn lines_are_told_apart_by_known_words_only() {
        let both = grouping("queue, quarter").expect("known words");
        assert!(both.queue && both.quarter && !both.agent);
        assert!(grouping("queue,day").is_err());
    }
}
