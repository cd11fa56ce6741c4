//! The page beside each model: whole, safe and readable without a network, in a real browser.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tests::records::{vm_name, wave, write_vms};
use tests::{Site, pages};

/// A name that would run, load and close tags if it got into the page as it is.
const EVIL: &str =
    "\"'/></figcaption><script>document.title='broken'</script><img src=http://192.0.2.1/x>&amp;";

/// The files of a model trained on that fleet.
fn trained(site: &Site) -> PathBuf {
    let data = site.path("fleet.parquet");
    let name = |server| match server {
        0 => EVIL.to_owned(),
        _ => vm_name(server),
    };
    write_vms(&data, name, wave);
    let data = data.display().to_string();
    let trained = site.train_quick(&data, "3");
    PathBuf::from(trained["path"].as_str().expect("a path"))
}

#[test]
fn the_page_is_whole_and_holds_no_name_as_markup() {
    let site = Site::new("127.0.0.1:1", "vm");
    let path = trained(&site);
    let page = std::fs::read_to_string(path.join("report.html")).expect("read the page");
    pages::check_nesting(&page);
    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("NaN"));
    assert!(page.contains("&lt;script&gt;"), "the evil server is shown");
    // Nothing is fetched: no address but the escaped one of the evil name.
    assert_eq!(
        page.matches("://").count(),
        page.matches("img src=http://192.0.2.1").count()
    );
    for part in [
        "What may be claimed",
        "After 1 epoch: a working pipeline; no accuracy is claimed.",
        "nominal 80 %",
        "prefers-color-scheme:dark",
        "Loss by epoch",
        "cpu_used_pct",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let report: Value =
        serde_json::from_slice(&std::fs::read(path.join("report.json")).expect("read"))
            .expect("an object");
    assert_eq!(report["simulated"], "not_known");
    assert_eq!(report["samples"][0]["server"], EVIL);
    assert_eq!(
        report["samples"][0]["p50"].as_array().map(Vec::len),
        Some(96)
    );
    let weights = report["variables"].as_array().expect("weights");
    let sum: f64 = weights.iter().filter_map(|w| w["weight"].as_f64()).sum();
    assert!((sum - 1.0).abs() < 1e-3, "{sum}");
    let manifest = std::fs::read_to_string(path.join("manifest.json")).expect("the manifest");
    assert!(manifest.contains("report.html") && manifest.contains("report.json"));
}

#[test]
fn a_browser_draws_the_page() {
    let Some(browser) = tests::browser() else {
        return;
    };
    let site = Site::new("127.0.0.1:1", "vm");
    let page = trained(&site).join("report.html");
    let shown = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"])
        .arg(format!(
            "--user-data-dir={}",
            site.path("browser").display()
        ))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("run the browser");
    assert!(
        shown.status.success(),
        "{}",
        String::from_utf8_lossy(&shown.stderr)
    );
    let shown = String::from_utf8_lossy(&shown.stdout);
    // What the browser's own parser made of it: the same drawings, and the name as text.
    let written = std::fs::read_to_string(&page).expect("read the page");
    for tag in [
        "<svg", "<figure", "<table", "<path", "<circle", "<script", "<img",
    ] {
        assert_eq!(
            shown.matches(tag).count(),
            written.matches(tag).count(),
            "{tag}"
        );
    }
    assert!(shown.contains("<title>Model "), "the name ran");
}
