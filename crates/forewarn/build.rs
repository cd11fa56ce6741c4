//! Notes the commit that the program is built from, for `training_info.json`.

use std::process::Command;

fn main() {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let commit = output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned());
    println!("cargo::rustc-env=FOREWARN_GIT_COMMIT={commit}");
    println!("cargo::rerun-if-changed=../../.git/HEAD");
    // HEAD names a branch: a commit changes only its log.
    println!("cargo::rerun-if-changed=../../.git/logs/HEAD");
}
