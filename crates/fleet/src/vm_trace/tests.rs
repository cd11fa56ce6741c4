#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

const JULY: TraceFile = TraceFile {
    vm: 7,
    year: Some(2013),
    month: Some(7),
};
const AUGUST: TraceFile = TraceFile {
    vm: 7,
    year: Some(2013),
    month: Some(8),
};

fn text(lines: &[&str]) -> Vec<u8> {
    let mut text = HEADER.join(";\t");
    for line in lines {
        text.push('\n');
        text.push_str(line);
    }
    text.into_bytes()
}

const LINE: &str = "1373000000;\t2;\t5200.0;\t78.0;\t1.5;\t8388608.0;\t1048576.0;\t512.0;\t1024.0;\t256.0;\t2048.0";

#[test]
fn a_line_becomes_a_row_in_the_units_of_the_contract() {
    let mut records = Importer::records();
    let report = Importer::new()
        .read(JULY, &text(&[LINE])[..], &mut records)
        .unwrap();
    assert_eq!((report.rows, report.bad_lines), (1, 0));
    let mut scratch = Vec::new();
    let row = records.row(0, &mut scratch).unwrap();
    assert_eq!(
        (row.server, row.timestamp_ms),
        ("vm0007", 1_373_000_000_000)
    );
    let want = [1.5, 12.5, 0.5, 1.0, 0.25, 2.0, 2.0, 8192.0].map(Some);
    assert_eq!(row.values, want);
    assert_eq!((row.profile, row.state), (None, None));
}

#[test]
fn memory_is_null_where_none_is_provisioned() {
    let mut records = Importer::records();
    let line = "1373000000; 0; 0; 0; 0; 0; 0; 0; 0; 0; 0";
    Importer::new()
        .read(JULY, &text(&[line])[..], &mut records)
        .unwrap();
    let mut scratch = Vec::new();
    let values = records.row(0, &mut scratch).unwrap().values;
    assert_eq!(
        (values[0], values[1], values[7]),
        (Some(0.0), None, Some(0.0))
    );
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_the_first_is_reported() {
    let long = "9".repeat(10_000);
    let many = format!("{LINE};1");
    let trailing = format!("{LINE};\r");
    let lines = [
        LINE,
        "",
        "no;numbers",
        "x;1;1;1;1;1;1;1;1;1;1",
        &long,
        &many,
        "9e99;1;1;1;1;1;1;1;1;1;1",
        &trailing,
    ];
    let mut bytes = text(&lines);
    bytes.extend_from_slice(b"\n\xff\xfe;1;1;1;1;1;1;1;1;1;1\n-5;1;1;1;1;1;1;1;1;1;1");
    let mut records = Importer::records();
    let report = Importer::new()
        .read(JULY, &bytes[..], &mut records)
        .unwrap();
    assert_eq!((report.rows, report.bad_lines), (2, 7));
    assert_eq!(report.first_bad, Some((4, "fewer than 11 fields")));
    assert_eq!(records.len(), 2);
}

#[test]
fn what_is_no_file_of_the_trace_is_refused() {
    let refused = Importer::new().read(JULY, &b"a,b,c\n1,2,3"[..], &mut Importer::records());
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("a,b,c") && message.contains("Timestamp"),
        "{message}"
    );
    let short = HEADER[..10].join(";");
    let refused = Importer::new().read(JULY, short.as_bytes(), &mut Importer::records());
    assert!(matches!(refused, Err(TraceError::Header { .. })));
    let empty = Importer::new()
        .read(JULY, &b""[..], &mut Importer::records())
        .unwrap();
    assert_eq!(empty, FileReport::default());
}

#[test]
fn another_size_in_a_later_month_is_a_series_of_its_own() {
    let mut importer = Importer::new();
    let mut server = |file, memory: &str| {
        let line = format!("1373000000;2;1;1;1;{memory};1;1;1;1;1");
        // The size changes within the file too: the first line counts.
        let other = "1373000300;4;1;1;1;77;1;1;1;1;1";
        let report = importer.read(file, &text(&[&line, other])[..], &mut Importer::records());
        report.unwrap().server.unwrap()
    };
    assert_eq!(server(JULY, "8218624.0"), "vm0007");
    assert_eq!(server(AUGUST, "8388608.0"), "vm0007x8");
    assert_eq!(server(AUGUST, "8388608.0"), "vm0007x8");
    assert_eq!(
        server(
            TraceFile {
                month: Some(9),
                ..JULY
            },
            "8218624.0"
        ),
        "vm0007"
    );
    assert_eq!(server(TraceFile { vm: 8, ..AUGUST }, "1.0"), "vm0008");
    assert_eq!(
        server(
            TraceFile {
                vm: 8,
                year: None,
                month: None
            },
            "2.0"
        ),
        "vm0008x2"
    );
}

#[test]
fn milliseconds_are_taken_as_such() {
    assert_eq!(parse_time("1376314846"), Some(1_376_314_846_000));
    assert_eq!(parse_time("1376314846.0"), Some(1_376_314_846_000));
    assert_eq!(parse_time("1376314846000"), Some(1_376_314_846_000));
    for bad in [
        "",
        "0",
        "-1",
        "nan",
        "inf",
        "9223372036854775807",
        "1e300",
        "12:00",
    ] {
        assert_eq!(parse_time(bad), None, "{bad}");
    }
}

#[test]
fn paths_name_machine_and_month() {
    let file = TraceFile::from_path;
    assert_eq!(file("rnd/2013-8/7.csv"), Some(AUGUST));
    assert_eq!(file("C:\\rnd\\2013-7\\7.csv"), Some(JULY));
    assert_eq!(
        file("7.csv"),
        Some(TraceFile {
            vm: 7,
            year: None,
            month: None
        })
    );
    assert_eq!(file("fast-Storage/7.csv").unwrap().month, None);
    assert_eq!(file("2013-13/7.csv").unwrap().month, None);
    for other in [
        "README",
        "x7.csv",
        ".csv",
        "7.txt",
        "99999999999.csv",
        "+7.csv",
        "",
    ] {
        assert_eq!(file(other), None, "{other}");
    }
    let mut files = [
        "2013-10/2.csv",
        "2013-9/2.csv",
        "2013-9/10.csv",
        "2013-9/1.csv",
    ]
    .map(|p| file(p).unwrap());
    files.sort();
    assert_eq!(
        files.map(|f| (f.vm, f.month.unwrap())),
        [(1, 9), (2, 9), (2, 10), (10, 9)]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_taken_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut whole = text(&[""]);
        whole.extend_from_slice(&bytes);
        let mut records = Importer::records();
        let report = Importer::new().read(JULY, &whole[..], &mut records).unwrap();
        prop_assert_eq!(report.rows, records.len() as u64);
    }

    /// However the reader cuts the text into chunks, the rows are the same.
    #[test]
    fn chunks_do_not_matter(capacity in 1usize..50) {
        let bytes = text(&[LINE, "bad", LINE]);
        let mut records = Importer::records();
        let reader = io::BufReader::with_capacity(capacity, &bytes[..]);
        let report = Importer::new().read(JULY, reader, &mut records).unwrap();
        prop_assert_eq!((report.rows, report.bad_lines), (2, 1));
    }
}
