//! What README tells a user to type on their own Kafka, typed in that order.

use std::time::Duration;

use tests::{Running, Site, brokers};

/// The lines of the section's code block that call the program, as arguments.
fn commands(section: &str) -> Vec<Vec<String>> {
    let readme = include_str!("../../README.md");
    let part = readme.split(section).nth(1).expect("the section is there");
    let block = part.split("```").nth(1).expect("it has a code block");
    let words = |line: &str| {
        let line = line.split('#').next().unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect()
    };
    block
        .lines()
        .filter_map(|line| line.strip_prefix("forewarn "))
        .map(words)
        .collect()
}

#[test]
fn the_recipe_for_ones_own_kafka_gives_predictions() {
    let Some(brokers) = brokers() else { return };
    let site = Site::new(&brokers, "linborg");
    let mut services: Vec<Running> = Vec::new();
    let mut predictions = String::new();
    let commands = commands("## On your own Kafka");
    assert!(commands.len() >= 6, "{commands:?}");
    for words in &commands {
        let background = words.last().is_some_and(|word| word == "&");
        let args: Vec<&str> = words
            .iter()
            .map(String::as_str)
            .filter(|word| *word != "&")
            .collect();
        if background {
            services.push(site.start(&args));
            continue;
        }
        if args[0] != "tail" {
            site.run(&args).ok();
            continue;
        }
        // It waits for as long as nothing comes.
        let mut tail = site.start(&args);
        assert_eq!(tail.wait(Duration::from_secs(90)), Some(0));
        predictions = tail.output();
    }
    assert!(predictions.contains("cpu_user_pct"), "{predictions}");
    for service in &mut services {
        assert_eq!(service.terminate(), Some(0), "{}", service.output());
    }
}
