//! The program `forewarn`: one match on the command, and the exit code it ends with.
//!
//! Where to read on: `roles` (the services), `demo` (all of them on an embedded broker),
//! `training` (train and eval), `commands` (everything else), `config` (what they run on).

mod cli;
mod clock;
mod commands;
mod config;
mod demo;
mod ends;
mod html;
mod kafka;
mod refusal;
mod roles;
mod shutdown;
mod telemetry;
mod training;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{Cli, Command, Stop};
use crate::commands::App;

/// What still runs after the command has ended (a blocked write, a training) is not waited for
/// longer than this.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    match cli::parse(std::env::args_os()) {
        Ok(cli) => end(run(cli)),
        Err(Stop::Text(text)) => end(commands::output::text(&text)),
        Err(Stop::Usage(text)) => {
            say(&text);
            ExitCode::from(2)
        }
        Err(Stop::Refused(refusal)) => end(Err(refusal.into())),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(dispatch(cli));
    runtime.shutdown_timeout(LEAVE_WITHIN);
    result
}

async fn dispatch(Cli { global, command }: Cli) -> anyhow::Result<()> {
    let app = || App::start(&global, &command);
    match &command {
        Command::Contract(args) => commands::contract::run(args, global.json),
        Command::Import(args) => commands::import::run(args, global.json),
        Command::Config(args) => commands::config::run(args, &app()?),
        Command::Schema(args) => commands::schema::run(args, &app()?),
        Command::Topics(args) => commands::topics::run(args, &app()?).await,
        Command::Replay(args) => commands::replay::run(args, &app()?).await,
        Command::Simulate(args) => commands::simulate::run(args, &app()?).await,
        Command::Run(args) => commands::run::run(args, &app()?).await,
        Command::Train(args) => training::train_command(args, &app()?).await,
        Command::Tune(args) => training::tune_command(args, &app()?).await,
        Command::Eval(args) => training::eval_command(args, &app()?).await,
        Command::Bench(args) => commands::bench::run(args, &app()?).await,
        Command::Archive(args) => commands::archive::run(args, &app()?).await,
        Command::Models(args) => commands::models::run(args, &app()?).await,
        Command::Decisions(args) => commands::decisions::run(args, &app()?).await,
        Command::Retrain(args) => commands::retrain::run(args, &app()?).await,
        Command::Drift(args) => commands::drift::run(args, &app()?).await,
        Command::Dlq(args) => commands::dlq::run(args, &app()?).await,
        Command::Tail(args) => commands::tail::run(args, &app()?).await,
        Command::Demo(args) => demo::run(args, &app()?).await,
    }
}

/// Says what went wrong, in one line, and with which code the process ends.
fn end(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        telemetry::logs::open();
        return ExitCode::SUCCESS;
    };
    if refusal::is_refusal(&error) {
        telemetry::logs::discard();
    } else {
        telemetry::logs::open();
    }
    let code = refusal::exit_code(&error);
    if code != 0 {
        say(&format!(
            "forewarn: {}\n",
            refusal::one_line(&format!("{error:#}"))
        ));
    }
    ExitCode::from(code)
}

fn say(text: &str) {
    // Nobody can be told that stderr is gone.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
