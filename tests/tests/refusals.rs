//! What is refused before any work, in one line that says what, where and what to do. No broker needed.

use tests::Site;

fn site() -> Site {
    Site::new("127.0.0.1:1", "vm")
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    let ended = site().run(&["config", "check", "--set", "rollup.grase=60s"]);
    ended.refused(2, &["rollup.grase", "rollup.grace"]);
}

#[test]
fn exactly_once_is_refused_until_it_exists() {
    let ended = site().run(&["run", "--role", "rollup", "--set", "delivery=exactly_once"]);
    ended.refused(2, &["delivery", "exactly_once", "at_least_once"]);
}

/// Found before a broker is looked for, by every command.
#[test]
fn decisions_that_could_never_be_made_are_refused_at_the_start() {
    for (set, words) in [
        (
            &["decision.schedule=0 2 30 2 *"][..],
            ["decision.schedule", "0 2 30 2 *", "never fires"],
        ),
        (
            &["decision.schedule=every night"],
            ["decision.schedule", "every night", "like \"0 2 * * *\""],
        ),
        (
            &["decision.triggers=drift or (share"],
            ["decision.triggers", "character 16", "event:NAME"],
        ),
        (
            &["decision.force_after=1h", "decision.min_hours_between=2h"],
            ["decision.force_after", "1h", "decision.min_hours_between"],
        ),
        (
            &["decision.time_zone=Atlantis/Capital"],
            ["decision.time_zone", "Atlantis/Capital", "America/New_York"],
        ),
        (&["quiet.rule=calm"], ["quiet.rule", "calm", "cpu-mem"]),
        (
            &["quiet.max_load=30"],
            ["quiet.max_load", "30", "from 0 to 1"],
        ),
        (
            &["drift.policy=strict"],
            ["drift.policy", "strict", "any-metric"],
        ),
        (
            &["drift.calibration=off"],
            ["drift.calibration", "off", "raw"],
        ),
    ] {
        let site = site();
        for command in [
            &["run", "--role", "drift"][..],
            &["config", "check"],
            &["retrain"],
        ] {
            let mut args = command.to_vec();
            set.iter().for_each(|set| args.extend(["--set", set]));
            site.run(&args).refused(2, &words);
        }
    }
}

#[test]
fn a_request_that_cannot_be_is_refused() {
    for (args, words) in [
        (&["--epochs", "0"][..], ["--epochs", "0", "1..=10000"]),
        (&["--event", "a b"], ["--event", "a b", "like deploy"]),
        (
            &["--event", "deploy", "--force"],
            ["--event", "--force", "cannot be used"],
        ),
        (&["--reason", " "], ["--reason", "one line", "500"]),
    ] {
        site()
            .run(&[&["retrain"], args].concat())
            .refused(2, &words);
    }
}

#[test]
fn a_malformed_contract_is_refused_with_its_file() {
    let site = site();
    let path = site.path("broken.contract.toml");
    std::fs::write(&path, "name = \"x\"\n[[metric]]\nname = \"cpu_pct\"\n").expect("write");
    let ended = site.run(&["contract", "check", &path.display().to_string()]);
    assert_ne!(ended.code, Some(0));
    assert!(
        ended.stderr.contains("broken.contract.toml"),
        "{}",
        ended.stderr
    );
    assert_eq!(
        ended.stderr.trim_end().lines().count(),
        1,
        "{}",
        ended.stderr
    );
}

#[test]
fn the_shipped_contracts_and_schemas_hold() {
    let site = site();
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for contract in ["linborg", "vm", "wafer-test"] {
        let file = format!("{root}/schemas/{contract}.contract.toml");
        site.run(&["contract", "check", &file]).ok();
    }
    site.run(&["schema", "check", "--dir", &format!("{root}/schemas")])
        .ok();
}

#[test]
fn a_model_that_is_not_there_is_refused_by_name() {
    let site = site();
    let ended = site.run(&[
        "eval",
        "--model",
        "20200101T000000Z-00000000",
        "--data",
        "none.parquet",
    ]);
    ended.refused(2, &["20200101T000000Z-00000000"]);
}

#[test]
fn an_empty_registry_and_archive_are_no_error() {
    let site = site();
    assert_eq!(
        site.run(&["models", "list", "--json"]).ok().last_json(),
        serde_json::json!([])
    );
    let verified = site.run(&["archive", "verify", "--json"]).ok().last_json();
    assert_eq!(verified["ok"], true, "{verified}");
}

#[test]
fn a_cloud_lake_is_refused_with_its_key() {
    let mut site = site();
    site.set("lake.url", "s3://bucket/prefix");
    let ended = site.run(&["archive", "verify"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("s3://bucket"), "{}", ended.stderr);
}
