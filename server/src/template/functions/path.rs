//! Paths with slashes, as Go's package `path` has them.

use super::Table;

pub(super) const TABLE: Table = &[
    ("base", |of| Ok(base(of.text()?).into())),
    ("clean", |of| Ok(clean(of.text()?).into())),
    ("dir", |of| {
        let path = of.text()?;
        Ok(clean(path.rfind('/').map_or("", |at| &path[..=at])).into())
    }),
    ("ext", |of| {
        let last = of.text()?.rsplit('/').next().unwrap_or_default();
        Ok(last.rfind('.').map_or("", |at| &last[at..]).into())
    }),
    ("isAbs", |of| Ok(of.text()?.starts_with('/').into())),
];

fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    match path.trim_end_matches('/') {
        "" => "/",
        trimmed => trimmed.rsplit('/').next().unwrap_or_default(),
    }
}

fn clean(path: &str) -> String {
    let is_rooted = path.starts_with('/');
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => match segments.last() {
                Some(last) if *last != ".." => {
                    segments.pop();
                }
                _ if is_rooted => {}
                _ => segments.push(".."),
            },
            other => segments.push(other),
        }
    }
    let joined = segments.join("/");
    match (is_rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
