//! `kaiwa-bench`: what a cluster of real processes can do, from outside; and whether the routing core does what theory says.

mod compare;
mod find_max;
mod machine;
mod messages;
mod modes;
mod report;
mod run;
mod scenario;
mod search;
mod sim;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Load on a cluster of real processes, and simulations of the routing core.
#[derive(Debug, Parser)]
#[command(name = "kaiwa-bench", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A scenario: tenants, agents and customers on a cluster of its own or on a target
    Run(run::RunArgs),
    /// A scenario played by several generators, on this machine or others, that come by themselves
    Coordinate(run::CoordinateArgs),
    /// One of those generators
    Generate(run::fleet::GenerateArgs),
    /// Whether the runs of B are slower or faster than those of A
    Compare(compare::CompareArgs),
    /// The highest rate of a scenario that keeps within limits
    FindMax(find_max::FindMaxArgs),
    /// Messages both ways between customers and agents over WebSocket, on three nodes on this machine
    Messages(messages::MessagesArgs),
    #[command(flatten)]
    Mode(modes::Mode),
    /// The routing core on virtual time, against exact results of queueing theory
    Sim(sim::SimArgs),
}

fn main() -> ExitCode {
    let code = |good: bool| if good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    let ended = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Coordinate(args) => run::coordinate(&args),
        Command::Generate(args) => run::fleet::generate(&args),
        Command::Compare(args) => compare::run(&args),
        Command::FindMax(args) => find_max::run(&args),
        Command::Messages(args) => messages::run(&args).map(code),
        Command::Mode(mode) => modes::run(&mode),
        Command::Sim(args) => sim::run(&args).map(code),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kaiwa-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
