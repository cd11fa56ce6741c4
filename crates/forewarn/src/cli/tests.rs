use super::*;
use crate::roles::Role;

#[allow(clippy::panic)]
fn parse_words(words: &str) -> Result<Cli, Stop> {
    parse(
        std::iter::once("forewarn")
            .chain(words.split_whitespace())
            .map(Into::into),
    )
}

#[track_caller]
#[allow(clippy::panic)]
fn ok(words: &str) -> Cli {
    match parse_words(words) {
        Ok(cli) => cli,
        Err(stop) => panic!("{words}: {stop:?}"),
    }
}

#[track_caller]
#[allow(clippy::panic)]
fn refused(words: &str, says: &[&str]) {
    let message = match parse_words(words) {
        Err(Stop::Refused(refusal)) => refusal.to_string(),
        other => panic!("{words}: {other:?}"),
    };
    assert!(!message.contains('\n'), "{message}");
    for part in says {
        assert!(
            message.contains(part),
            "{words}: {part:?} is not in {message:?}"
        );
    }
}

#[test]
fn clap_finds_no_mistake_in_the_definitions() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn every_command_of_the_interface() {
    for words in [
        "topics create",
        "topics create --partitions 6 --replication 1",
        "replay f.parquet",
        "replay f.parquet --speed max --from 2013-08-01T00:00:00Z --to 2013-09-01T00:00:00Z --servers vm* --json",
        "simulate --servers 5 --hours 2 --step 5s --seed 3 --scenario shift --out x.parquet",
        "simulate --profile ml_compute=40,database=2 --hours 1 --to-kafka",
        "run --role rollup,forecast,archive --until-end --json",
        "train --data x.parquet --preset quick --to 2013-08-24T00:00:00Z --servers vm* --epochs 1 --days 7 --max-seconds 60 --json",
        "eval --model v1 --data x.parquet --from 2013-08-24T00:00:00Z --stride 96 --out y.parquet --json",
        "archive verify --json",
        "models list --json",
        "decisions --json",
        "retrain --epochs 5 --force --reason why --json",
        "retrain --event deploy",
        "config check",
        "schema generate",
        "schema check --dir schemas",
        "contract check x.contract.toml",
        "dlq list",
        "tail predictions --server a --json --from beginning --max 3",
        "import vm-trace dir --out x.parquet",
        "demo --speed 60 --servers 90 --seed 2 --for 5m --json --keep dir",
        "--config f.toml --set a=b --set c=d --log-format json decisions",
    ] {
        ok(words);
    }
}

#[test]
fn roles_may_be_separated_by_commas_or_repeated() {
    for words in ["run --role rollup,train", "run --role rollup --role train"] {
        let Command::Run(args) = ok(words).command else {
            unreachable!("it is run")
        };
        assert_eq!(args.roles, [Role::Rollup, Role::Train]);
        assert!(!args.until_end);
    }
    assert!(Role::Rollup < Role::Forecast && Role::Archive < Role::Train);
}

#[test]
fn profiles_are_one_list() {
    let words = "simulate --profile ml_compute=40,database=2 --out x";
    let Command::Simulate(args) = ok(words).command else {
        unreachable!("it is simulate")
    };
    let expected = vec![("ml_compute".to_owned(), 40), ("database".to_owned(), 2)];
    assert_eq!(args.profile, Some(fleet::FleetSpec::Profiles(expected)));
}

#[test]
fn global_flags_stand_before_and_behind_the_command() {
    let cli = ok("--set a=1 run --set=b=2 --role rollup --set kafka.properties.x.ms=3 --json");
    assert!(cli.global.json);
    assert_eq!(cli.global.set, ["a=1", "b=2", "kafka.properties.x.ms=3"]);
    assert!(ok("--json config check").global.json);
    refused("config check --set", &["--set"]);
}

#[test]
fn wrong_usage_is_one_line_that_says_what_and_what_to_do() {
    refused(
        "run --role rolup",
        &["rolup", "--role", "rollup", "forecast"],
    );
    refused("run", &["--role"]);
    refused("frobnicate", &["frobnicate"]);
    refused("replay", &["FILE"]);
    refused("replay f --speed fast", &["fast", "--speed", "'max'"]);
    refused(
        "replay f --from yesterday",
        &["yesterday", "--from", "like 2013-08-01T00:00:00Z"],
    );
    refused(
        "topics create --partitions 0",
        &["--partitions", "1..=10000"],
    );
    refused("simulate --servers 3", &["--out"]);
    refused("simulate --out a --to-kafka", &["--out", "--to-kafka"]);
    refused("simulate --profile x --out a", &["--profile"]);
    refused("train --data x --servers @no/such/file", &["no/such/file"]);
    refused("demo --for 5", &["--for", "like \"60s\""]);
    refused("--log-format xml decisions", &["xml", "text", "json"]);
    refused("tail", &["TOPIC"]);
    refused(
        "simulate --scenario flood --out a",
        &["flood", "shift", "new-profile"],
    );
}

#[test]
fn help_is_no_error_and_shows_examples() {
    for words in [
        "--help",
        "run --help",
        "demo --help",
        "import vm-trace --help",
    ] {
        match parse_words(words) {
            Err(Stop::Text(text)) => assert!(text.contains("Example"), "{words}: {text}"),
            other => unreachable!("{words}: {other:?}"),
        }
    }
    assert!(matches!(parse_words(""), Err(Stop::Usage(_))));
    assert!(matches!(parse_words("--version"), Err(Stop::Text(_))));
}
