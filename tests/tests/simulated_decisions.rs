//! `decisions simulate` on the real binary. No broker needed.

use tests::Site;

const LINES: &str = r#"{"at":"2026-01-05T12:00:00Z","score":0.13,"load":0.75}
{"at":"2026-01-05T22:00:00Z","score":0.14,"load":0.28}
{"at":"2026-01-05T23:00:00Z","score":0.05,"load":0.28,"event":"training_completed"}
{"at":"2026-01-06T00:00:00Z","score":0.11,"load":0.28}
{"at":"2026-01-06T05:00:00Z","score":0.11,"load":0.28}
"#;

#[test]
fn a_decision_for_each_line() {
    let site = Site::new("127.0.0.1:1", "vm");
    let path = site.path("history.jsonl");
    std::fs::write(&path, LINES).expect("write");
    let input = path.display().to_string();
    let ended = site.run(&["decisions", "simulate", "--input", &input, "--json"]);
    let found = ended.ok().json_lines();
    let triggers: Vec<bool> = found.iter().map(|line| line["trigger"] == true).collect();
    assert_eq!(triggers, [false, true, false, false, true]);
    assert!(found[0]["wait_until"].is_null(), "{}", found[0]);
    assert_eq!(found[0]["priority"], "critical");
    assert_eq!(found[3]["wait_until"], "2026-01-06T05:00:00Z");
    assert_eq!(found[3]["at"], "2026-01-06T00:00:00Z");
}

#[test]
fn a_bad_line_is_named_by_file_and_number() {
    let site = Site::new("127.0.0.1:1", "vm");
    let path = site.path("history.jsonl");
    std::fs::write(&path, format!("{LINES}\n{{\"at\":1}}\n")).expect("write");
    let input = path.display().to_string();
    let ended = site.run(&["decisions", "simulate", "--input", &input, "--json"]);
    ended.refused(1, &["history.jsonl", "line 7", "RFC 3339"]);
}
