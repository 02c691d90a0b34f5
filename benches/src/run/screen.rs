//! What is seen of a run on a terminal: one full screen, drawn four times a second.

use std::io::{self, Stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Gauge, Paragraph, Row, Sparkline, Table};
use ratatui::{Frame, Terminal};

use super::live::{Control, Live};
use super::record::{Measure, Summary};

const DRAW_EVERY: Duration = Duration::from_millis(250);
/// The screen is taken, and has to be given back.
static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// The terminal, given back when it is dropped.
struct Screen(Terminal<CrosstermBackend<Stdout>>);

fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        // Nothing better can be done where even this fails.
        let _ = disable_raw_mode();
        let _ = execute!(io::stdout(), LeaveAlternateScreen);
    }
}

impl Screen {
    fn take() -> io::Result<Self> {
        HOOK.call_once(|| {
            // What a panic says is read on the screen that was there before.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |about| {
                give_back();
                before(about);
            }));
        });
        enable_raw_mode()?;
        TAKEN.store(true, Ordering::SeqCst);
        let taken = execute!(io::stdout(), EnterAlternateScreen)
            .and_then(|()| Terminal::new(CrosstermBackend::new(io::stdout())));
        taken.map(Self).inspect_err(|_| give_back())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Shows until it is over. `q` asks for an early end; Ctrl-C too, and at the second time at once.
pub fn show(live: &Mutex<Live>, over: &AtomicBool, control: &Control) -> io::Result<()> {
    live.lock().expect("nobody panics with it").watched = true;
    let mut screen = Screen::take()?;
    let mut drawn = Instant::now();
    // After a panic somewhere it is not ours any more.
    while !over.load(Ordering::Relaxed) && TAKEN.load(Ordering::SeqCst) {
        let now = live.lock().expect("nobody panics with it").clone();
        screen.0.draw(|frame| draw(frame, &now, control))?;
        drawn += DRAW_EVERY;
        drawn = drawn.max(Instant::now());
        while event::poll(drawn.saturating_duration_since(Instant::now()).min(DRAW_EVERY))? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
            {
                let broken = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
                if broken && control.stops_at().is_some() {
                    control.abort();
                } else if broken || key.code == KeyCode::Char('q') {
                    control.stop_at(0);
                }
            }
        }
    }
    Ok(())
}

/// The same, where somebody may be looking.
pub fn start(live: Arc<Mutex<Live>>, over: Arc<AtomicBool>, control: Arc<Control>) -> tokio::task::JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        if show(&live, &over, &control).is_err() {
            // The terminal has gone. The run goes on without it.
            live.lock().expect("nobody panics with it").watched = false;
        }
    })
}

fn draw(frame: &mut Frame<'_>, live: &Live, control: &Control) {
    let generators = if live.generators.is_empty() {
        0
    } else {
        live.generators.len().min(6) as u16
    };
    let processes = (live.processes.len() as u16 + generators).max(6) + 3;
    let [title, gauge, rates, latency, below, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(3),
        Constraint::Min(5),
        Constraint::Length(10),
        Constraint::Length(processes.max(11)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(
        Line::from(vec![
            " kaiwa-bench ".bold().reversed(),
            format!(" {}", live.scenario).bold(),
        ]),
        title,
    );
    frame.render_widget(progress(live, control), gauge);
    // What does not happen in a scenario needs no room.
    let some = |which: [usize; 2]| live.history.iter().any(|counts| which.iter().any(|n| counts[*n] > 0));
    let all = [
        (("messages", "intended", "acknowledged"), [2, 3]),
        (("conversations", "arrivals", "assigned"), [0, 1]),
    ];
    let any = all.iter().any(|(_, which)| some(*which));
    let panels: Vec<_> = all.into_iter().filter(|(_, which)| !any || some(*which)).collect();
    let areas = Layout::horizontal(panels.iter().map(|_| Constraint::Fill(1))).split(rates);
    for ((names, which), area) in panels.into_iter().zip(areas.iter()) {
        rate(frame, *area, live, names, which);
    }
    frame.render_widget(latencies(live), latency);
    let [queue, nodes, faults] =
        Layout::horizontal([Constraint::Fill(5), Constraint::Fill(6), Constraint::Fill(4)]).areas(below);
    frame.render_widget(queueing(live), queue);
    frame.render_widget(processes_of(live), nodes);
    frame.render_widget(faults_of(live), faults);
    let asked = control.stops_at().is_some();
    let hint = if asked {
        " ending early; Ctrl-C: at once, without a report"
    } else {
        " q: end early, with a report of what was measured"
    };
    frame.render_widget(Line::from(hint).dim(), keys);
}

/// The phase, and how far it is.
fn phase(live: &Live, now: Instant) -> (&'static str, f64, f64, Color) {
    if let Some(since) = live.settling {
        let s = now.saturating_duration_since(since).as_secs_f64();
        return ("settling, at most", s, live.settle_s, Color::Magenta);
    }
    let at_s = live
        .started
        .map_or(0.0, |started| now.saturating_duration_since(started).as_secs_f64());
    if live.started.is_none() {
        ("standing conversations begin", 0.0, 0.0, Color::Yellow)
    } else if at_s < live.from_s {
        ("warm-up", at_s, live.from_s, Color::Yellow)
    } else {
        let (s, of) = (at_s - live.from_s, live.until_s - live.from_s);
        ("measuring", s.min(of), of, Color::Green)
    }
}

fn progress(live: &Live, control: &Control) -> Gauge<'static> {
    let (name, s, of, colour) = phase(live, Instant::now());
    let early = if control.stops_at().is_some() {
        ", ends early"
    } else {
        ""
    };
    let label = if of > 0.0 {
        format!(" {name}{early}: {s:.0} s of {of:.0} s ")
    } else {
        name.to_owned()
    };
    Gauge::default()
        .block(Block::bordered())
        .gauge_style(Style::new().fg(colour).bg(Color::Black))
        .ratio(if of > 0.0 { (s / of).clamp(0.0, 1.0) } else { 0.0 })
        .label(label)
}

/// What was to be done and what was, by interval, at one scale.
fn rate(
    frame: &mut Frame<'_>,
    area: Rect,
    live: &Live,
    names: (&'static str, &'static str, &'static str),
    which: [usize; 2],
) {
    let (title, offered, done) = names;
    let block = Block::bordered().title(format!(" {title} per second "));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width.saturating_sub(22));
    let series = which.map(|n| {
        let skipped = live.history.len().saturating_sub(width);
        live.history
            .iter()
            .skip(skipped)
            .map(|counts| counts[n])
            .collect::<Vec<u64>>()
    });
    let most = series.iter().flatten().copied().max().unwrap_or(0).max(1);
    let rows: [Rect; 2] = Layout::vertical([Constraint::Fill(1); 2]).areas(inner);
    let looks = [(offered, Color::Cyan), (done, Color::Green)];
    for ((row, data), (name, colour)) in rows.into_iter().zip(series).zip(looks) {
        let [label, bars] = Layout::horizontal([Constraint::Length(21), Constraint::Min(0)]).areas(row);
        let last = data.last().copied().unwrap_or(0) as f64 / live.interval_s.max(1.0);
        let text = Line::from(vec![
            Span::from(format!(" {name:<13}")),
            format!("{last:>6.0}").fg(colour).bold(),
        ]);
        frame.render_widget(Paragraph::new(text), label);
        frame.render_widget(
            Sparkline::default().data(data).max(most).style(Style::new().fg(colour)),
            bars,
        );
    }
}

fn ms(value: f64) -> String {
    if value < 9.95 {
        format!("{value:.2}")
    } else if value < 99.5 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

fn latencies(live: &Live) -> Table<'static> {
    const ROWS: [(Measure, &str); 7] = [
        (Measure::MessageAck, "message → acknowledged"),
        (Measure::MessageDelivery, "message → other side"),
        (Measure::StartAck, "start → acknowledged"),
        (Measure::StartOffer, "start → offered"),
        (Measure::OfferAssigned, "answer → assigned"),
        (Measure::Lag, "generator: lag"),
        (Measure::Runtime, "generator: late timers"),
    ];
    let four = |summary: Option<Summary>| match summary {
        Some(s) => [s.p50_ms, s.p90_ms, s.p99_ms, s.max_ms].map(ms).to_vec(),
        None => vec!["–".to_owned(); 4],
    };
    let rows = ROWS.iter().map(|(measure, name)| {
        let (last, so_far) = (live.last(*measure), live.so_far[*measure as usize]);
        let mut cells = vec![Cell::from(format!(" {name}"))];
        cells.extend(
            four(last)
                .into_iter()
                .map(|text| Cell::from(Line::from(text).right_aligned())),
        );
        cells.push(Cell::from(""));
        let whole = four(so_far)
            .into_iter()
            .chain([so_far.map_or_else(|| "–".to_owned(), |s| s.count.to_string())]);
        cells.extend(whole.map(|text| Cell::from(Line::from(text).right_aligned())));
        Row::new(cells)
    });
    let heads = ["p50", "p90", "p99", "max", "", "p50", "p90", "p99", "max", "count"];
    let mut head = vec![Cell::from(" ms, from the intended time")];
    head.extend(heads.map(|text| Cell::from(Line::from(text).right_aligned())));
    let mut widths = vec![Constraint::Length(27)];
    widths.extend([Constraint::Length(7); 4]);
    widths.push(Constraint::Length(3));
    widths.extend([Constraint::Length(7); 4]);
    widths.push(Constraint::Length(9));
    Table::new(rows, widths)
        .header(Row::new(head).bold())
        .block(Block::bordered().title(" latency: the last interval, and so far (measured part) "))
}

fn pairs(title: &'static str, width: u16, rows: Vec<(String, Span<'static>)>) -> Table<'static> {
    let rows = rows.into_iter().map(|(name, value)| {
        Row::new([
            Cell::from(format!(" {name}")),
            Cell::from(Line::from(value).right_aligned()),
        ])
    });
    Table::new(rows, [Constraint::Fill(1), Constraint::Length(width)]).block(Block::bordered().title(title))
}

fn queueing(live: &Live) -> Table<'static> {
    let [arrivals, in_target, abandoned, _] = live.totals;
    let percent = |part: u64| {
        if arrivals == 0 {
            "–".to_owned()
        } else {
            format!("{:.1} %", part as f64 / arrivals as f64 * 100.0)
        }
    };
    let depth = live
        .queue_depth
        .map_or_else(|| "–".to_owned(), |depth| format!("{depth:.0}"));
    let busy = if live.places > 0 {
        live.busy as f64 / live.places as f64 * 100.0
    } else {
        0.0
    };
    pairs(
        " queue ",
        12,
        vec![
            ("waiting".to_owned(), live.waiting.to_string().bold()),
            ("queue depth (nodes)".to_owned(), depth.into()),
            ("service level".to_owned(), percent(in_target).bold()),
            ("abandoned".to_owned(), percent(abandoned).into()),
            (
                "places busy".to_owned(),
                format!("{} of {}", live.busy, live.places).into(),
            ),
            ("occupancy".to_owned(), format!("{busy:.1} %").into()),
            ("customers".to_owned(), live.present.to_string().into()),
            ("arrivals so far".to_owned(), arrivals.to_string().into()),
        ],
    )
}

fn processes_of(live: &Live) -> Table<'static> {
    let right = |text: String| Cell::from(Line::from(text).right_aligned());
    let nodes = live.processes.len().saturating_sub(1);
    let name = |n: usize| match (n < nodes, live.generators.is_empty()) {
        (true, _) => format!(" node {}", n + 1),
        (false, true) => " generator".to_owned(),
        (false, false) => " coordinator".to_owned(),
    };
    let of = |(n, (cpu, mib)): (usize, &(f64, f64))| {
        Row::new([
            Cell::from(name(n)),
            right(format!("{cpu:.2}")),
            right(format!("{mib:.0}")),
            Cell::from(""),
        ])
    };
    let of_generator = |generator: &super::live::Generator| {
        let lag = generator.lag.map_or_else(|| "–".to_owned(), |lag| ms(lag.p99_ms));
        Row::new([
            Cell::from(format!(" generator {}", generator.name)),
            right(format!("{:.2}", generator.cpu)),
            right(format!("{:.0}", generator.mib)),
            right(lag),
        ])
    };
    let rows = live
        .processes
        .iter()
        .enumerate()
        .map(of)
        .chain(live.generators.iter().map(of_generator));
    let lag = if live.generators.is_empty() { "" } else { "lag p99" };
    let head = [
        Cell::from(""),
        right("cores".to_owned()),
        right("MiB".to_owned()),
        right(lag.to_owned()),
    ];
    let widths = [
        Constraint::Fill(1),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(8),
    ];
    Table::new(rows, widths)
        .header(Row::new(head).bold())
        .block(Block::bordered().title(" CPU and memory "))
}

fn faults_of(live: &Live) -> Table<'static> {
    let all = live.faults.all().into_iter().chain([("refused", live.refused)]);
    let any = live.faults.count() > 0;
    let rows = all.map(|(name, count)| {
        let text = count.to_string();
        let value = if count > 0 { text.red().bold() } else { text.dim() };
        (name.to_owned(), value)
    });
    let table = pairs(" must not happen ", 9, rows.collect());
    if any {
        table
            .style(Style::new())
            .block(Block::bordered().title(" must not happen ").border_style(Color::Red))
    } else {
        table
    }
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;
    use crate::run::account::Faults;

    fn drawn(live: &Live, control: &Control, size: (u16, u16)) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, live, control)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn shown(live: &Live, control: &Control, size: (u16, u16)) -> String {
        let buffer = drawn(live, control, size);
        let rows = buffer.content().chunks(usize::from(size.0));
        rows.map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn what_matters_is_on_the_screen() {
        let ack = Some(Summary {
            count: 4_321,
            p50_ms: 2.5,
            p99_ms: 123.4,
            ..Summary::default()
        });
        let mut live = Live {
            scenario: "steady-chat".to_owned(),
            started: Some(Instant::now()),
            from_s: 20.0,
            until_s: 80.0,
            interval_s: 1.0,
            totals: [200, 150, 10, 0],
            faults: Faults {
                misordered: 17,
                ..Faults::default()
            },
            processes: vec![(0.5, 80.0); 4],
            ..Live::default()
        };
        live.so_far[Measure::MessageAck as usize] = ack;
        let control = Control::default();
        let text = shown(&live, &control, (120, 40));
        for wanted in [
            "steady-chat",
            "warm-up: 0 s of 20 s",
            "4321",
            "123",
            "75.0 %",
            "5.0 %",
            "node 3",
            "17",
            "q: end early",
        ] {
            assert!(text.contains(wanted), "{wanted}:\n{text}");
        }
        let red = |live: &Live| {
            let buffer = drawn(live, &control, (120, 40));
            let red = buffer.content().iter().filter(|cell| cell.fg == Color::Red);
            red.map(|cell| cell.symbol()).collect::<String>()
        };
        assert!(red(&live).contains("17"), "faults are red");
        live.faults = Faults::default();
        assert_eq!(red(&live), "");
        control.stop_at(0);
        assert!(shown(&live, &control, (120, 40)).contains("ends early"));
    }

    #[test]
    fn any_size_will_do() {
        for size in [(1, 1), (20, 5), (60, 20), (250, 80)] {
            shown(&Live::default(), &Control::default(), size);
        }
    }
}
