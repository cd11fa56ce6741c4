//! What holds of every page that the program writes.

/// Opens and closes every tag in order, has every attribute quoted and no bare `<` or `&`: what a strict parser asks for.
///
/// # Panics
/// When it is not so.
#[track_caller]
pub fn check_nesting(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = page.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        for part in before.split('&').skip(1) {
            let entity = part.split(';').next().unwrap_or_default();
            assert!(
                ["amp", "lt", "gt", "quot", "#39"].contains(&entity),
                "a bare & before {part}"
            );
        }
        let end = tag.find('>').expect("the end of a tag");
        let (inside, after) = (&tag[1..end], &tag[end + 1..]);
        assert_eq!(inside.matches('"').count() % 2, 0, "{inside}");
        match (inside.strip_prefix('/'), inside.strip_suffix('/')) {
            (Some(name), _) => assert_eq!(open.pop(), Some(name), "closed out of order"),
            (None, Some(_)) => {}
            (None, None) => open.push(inside.split(' ').next().unwrap_or_default()),
        }
        rest = after;
    }
    assert!(open.is_empty(), "left open: {open:?}");
}
