//! `kaiwa report`: KPIs of a period, or of this moment.

use clap::{Args, ValueEnum};
use reqwest::Method;
use routing::ids::Millis;

use super::admin::{Admin, AdminArgs, read};
use super::replay::moment;
use super::status::table;
use super::tenant::named;
use super::{CliError, block_on, say, say_json};
use crate::api::model::report::{LiveBody, Report, ReportRow};
use crate::api::reports::csv_of;
use crate::wall_clock;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The most asked for, side by side
    Table,
    /// Everything, RFC 4180
    Csv,
    /// Everything, as the API gives it
    Json,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// Its id, `ten_…`, or its name
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// Begin: RFC 3339 (`2026-11-20T09:00:00Z`), or so long ago (`24h`); the quarter hour that it is in
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    from: String,
    /// End: the same; `0s` is now
    #[arg(long, value_name = "WHEN", default_value = "0s")]
    to: String,
    /// Lines by: any of quarter, queue, agent, channel, with commas between them
    #[arg(long, value_name = "WORDS", default_value = "queue")]
    by: String,
    /// What is printed
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Now instead of a period: the current quarter hour, the last four, and who waits
    #[arg(long, conflicts_with_all = ["from", "to", "by"])]
    live: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

pub(super) fn run(args: &ReportArgs) -> Result<(), CliError> {
    block_on(show(args))?
}

async fn show(args: &ReportArgs) -> Result<(), CliError> {
    let admin = Admin::new(&args.admin)?;
    let tenant = named(&admin, &args.tenant).await?;
    let base = format!("/v1/admin/tenants/{}/reports", tenant.id);
    if args.live {
        let answer = admin.call(Method::GET, &format!("{base}/live"), None).await?;
        if matches!(args.format, Format::Json) {
            return say_json(&answer);
        }
        let live: LiveBody = read(answer)?;
        let rows: Vec<ReportRow> = live.queues.iter().map(|queue| queue.row.clone()).collect();
        print(&rows, args.format)?;
        if matches!(args.format, Format::Table) {
            say(&waiting(&live));
        }
        return Ok(());
    }
    let now_ms = wall_clock::now_ms();
    let (from_ms, until_ms) = (moment(&args.from, now_ms)?, moment(&args.to, now_ms)?);
    let by: String = args
        .by
        .chars()
        .filter(|c| c.is_ascii_alphabetic() || *c == ',')
        .collect();
    if by.len() != args.by.len() {
        return Err(CliError::Usage(format!(
            "--by {}: words with commas between them",
            args.by
        )));
    }
    let path = format!("{base}?from_ms={from_ms}&until_ms={until_ms}&by={by}");
    let answer = admin.call(Method::GET, &path, None).await?;
    if matches!(args.format, Format::Json) {
        return say_json(&answer);
    }
    let report: Report = read(answer)?;
    print(&report.rows, args.format)
}

fn print(rows: &[ReportRow], format: Format) -> Result<(), CliError> {
    match format {
        Format::Csv => {
            let text = csv_of(rows).map_err(anyhow::Error::from)?;
            say(String::from_utf8_lossy(&text).trim_end());
        }
        Format::Table | Format::Json => say(&render(rows)),
    }
    Ok(())
}

const HEADS: [&str; 16] = [
    "QUARTER HOUR (UTC)",
    "OF",
    "CHANNEL",
    "OFFERED",
    "ANSWERED",
    "ABANDONED",
    "SERVICE LEVEL",
    "ANSWERED ONLY",
    "NEGATIVE",
    "POSITIVE",
    "ASA",
    "P90 WAIT",
    "AHT",
    "OCCUPANCY",
    "FCR",
    "CSAT",
];

/// The most asked for. What there is nothing to tell of is a dash.
pub(super) fn render(rows: &[ReportRow]) -> String {
    if rows.is_empty() {
        return "nothing happened".to_owned();
    }
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    table(&HEADS, &lines).trim_end().to_owned()
}

fn line(row: &ReportRow) -> Vec<String> {
    let percent = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0));
    let seconds = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0));
    let subject = row
        .name
        .clone()
        .or_else(|| row.queue.clone())
        .or_else(|| row.agent.clone());
    vec![
        row.quarter_ms.map_or_else(|| "all".to_owned(), clock),
        subject.unwrap_or_else(|| "all".to_owned()),
        row.channel.clone().unwrap_or_else(|| "all".to_owned()),
        row.offered.to_string(),
        row.answered.to_string(),
        row.abandoned.to_string(),
        percent(row.service_level),
        percent(row.service_level_answered),
        percent(row.service_level_abandon_negative),
        percent(row.service_level_abandon_positive),
        seconds(row.average_speed_of_answer_ms),
        seconds(row.wait_p90_ms),
        seconds(row.average_handling_time_ms),
        percent(row.occupancy),
        percent(row.first_contact_resolution),
        percent(row.satisfaction),
    ]
}

fn clock(at_ms: Millis) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp((at_ms / 1_000) as i64);
    at.map_or_else(
        |_| at_ms.to_string(),
        |at| format!("{} {:02}:{:02}", at.date(), at.hour(), at.minute()),
    )
}

fn waiting(live: &LiveBody) -> String {
    let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), |share| format!("{share:.3}"));
    let mut rows = Vec::new();
    for queue in &live.queues {
        let name = queue.row.name.clone().unwrap_or_default();
        for class in &queue.waiting {
            rows.push(vec![
                name.clone(),
                class.priority.to_string(),
                class.waiting.to_string(),
                format!("{:.1} s", class.longest_wait_ms as f64 / 1_000.0),
                share(queue.occupancy_jain),
            ]);
        }
    }
    let agents = &live.agents;
    let mut text = format!(
        "\nagents: {} available, {} away, {} draining, {} suspect, {} offline; fairness of occupancy {}",
        agents.available,
        agents.away,
        agents.draining,
        agents.suspect,
        agents.offline,
        share(live.occupancy_jain)
    );
    if !rows.is_empty() {
        let heads = ["QUEUE", "PRIORITY", "WAITING", "LONGEST WAIT", "FAIRNESS"];
        text.push_str(&format!("\n\n{}", table(&heads, &rows).trim_end()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_what_there_is_and_dashes_for_the_rest() {
        let row = ReportRow {
            name: Some("support".to_owned()),
            quarter_ms: Some(900_000),
            offered: 100,
            answered: 90,
            service_level: Some(0.7778),
            average_speed_of_answer_ms: Some(12_340),
            ..ReportRow::default()
        };
        let text = render(&[row]);
        let line = text.lines().nth(1).expect("a line");
        for part in ["1970-01-01 00:15", "support", "100", "77.8 %", "12.3 s", "–"] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert_eq!(render(&[]), "nothing happened");
    }
}
