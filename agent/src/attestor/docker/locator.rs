//! How the id of a container is told from the path of a control group: by its shape, or by the patterns
//! of `container_id_cgroup_matchers`.

/// Finds ids in paths.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Locator {
    /// An id is 64 hexadecimal digits, as engines make them; the last in the path counts.
    #[default]
    ByShape,
    /// An id stands where a pattern says.
    ByPatterns(Patterns),
}

/// An id in a path.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Found {
    pub(super) id: String,
    /// Where the part of the path ends that the id stands in.
    pub(super) end: usize,
}

impl Locator {
    pub(super) fn find(&self, path: &[u8]) -> Option<Found> {
        match self {
            Self::ByShape => by_shape(path),
            Self::ByPatterns(patterns) => patterns.0.iter().find_map(|pattern| pattern.find(path)),
        }
    }
}

/// Looks from the last part backwards, and no further than to an empty one.
fn by_shape(path: &[u8]) -> Option<Found> {
    let mut end = path.len();
    loop {
        let start = path[..end].iter().rposition(|byte| *byte == b'/');
        let part = &path[start.map_or(0, |slash| slash + 1)..end];
        if part.is_empty() {
            return None;
        }
        let mut words = part.split(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'_'));
        let id =
            words.find(|word| word.len() == ID_LEN_BYTES && word.iter().all(u8::is_ascii_hexdigit));
        if let Some(id) = id {
            let id = String::from_utf8_lossy(id).into_owned();
            return Some(Found { id, end });
        }
        end = start?;
    }
}

const ID_LEN_BYTES: usize = 64;

/// Patterns of paths of which no two fit the same path.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Parses patterns: parts between slashes, of which `*` stands for any part, and `<id>`, which stands
    /// in each once, for the id.
    ///
    /// # Errors
    /// In SPIRE's words.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let split: Vec<_> = texts.iter().map(|text| Pattern::split(text)).collect();
        let is_ambiguous = |(at, one): (usize, &Vec<Part>)| {
            let mut others = split.iter().enumerate();
            others.any(|(other, parts)| other != at && overlap(one, parts))
        };
        let ambiguous: Vec<_> = split
            .iter()
            .enumerate()
            .zip(texts)
            .filter(|(pattern, _)| is_ambiguous(*pattern))
            .map(|(_, text)| format!("{text:?}"))
            .collect();
        if !ambiguous.is_empty() {
            return Err(format!(
                "dockerfinder: patterns must not be ambiguous: [{}]",
                ambiguous.join(" ")
            ));
        }
        let whole = split.into_iter().zip(texts).map(|(parts, text)| {
            let ids = parts.iter().filter(|part| **part == Part::Id).count();
            match ids {
                1 => Ok(Pattern(parts)),
                _ => Err(format!(
                    "pattern {text:?} must contain the container id token \"<id>\" exactly once"
                )),
            }
        });
        whole.collect::<Result<_, _>>().map(Self)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Pattern(Vec<Part>);

#[derive(Clone, Debug, Eq, PartialEq)]
enum Part {
    Any,
    Id,
    Exactly(String),
}

impl Pattern {
    fn split(text: &str) -> Vec<Part> {
        let parts = text.split('/').map(|part| match part {
            "*" => Part::Any,
            "<id>" => Part::Id,
            literal => Part::Exactly(literal.to_owned()),
        });
        parts.collect()
    }

    fn find(&self, path: &[u8]) -> Option<Found> {
        let mut parts = path.split(|byte| *byte == b'/');
        let mut end = 0;
        let mut found = None;
        for wanted in &self.0 {
            let part = parts.next()?;
            end += part.len();
            match wanted {
                Part::Any => {}
                Part::Id => {
                    let id = String::from_utf8_lossy(part).into_owned();
                    found = Some(Found { id, end });
                }
                Part::Exactly(literal) if literal.as_bytes() == part => {}
                Part::Exactly(_) => return None,
            }
            // The slash behind it.
            end += 1;
        }
        match parts.next() {
            None => found,
            Some(_longer) => None,
        }
    }
}

/// Whether a path can fit both.
fn overlap(one: &[Part], other: &[Part]) -> bool {
    let fits = |(one, other): (&Part, &Part)| match (one, other) {
        (Part::Exactly(one), Part::Exactly(other)) => one == other,
        (Part::Any | Part::Id, _) | (_, Part::Any | Part::Id) => true,
    };
    one.len() == other.len() && one.iter().zip(other).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789ABCDEF0123456789abcdef";
    const OTHER: &str = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";

    #[test]
    fn id_is_64_hexadecimal_digits_in_the_last_part_that_has_some() {
        let place = |path: &str| {
            let found = Locator::ByShape.find(path.as_bytes())?;
            assert_eq!(found.id, ID, "{path}");
            Some(path[..found.end].to_owned())
        };
        for path in [
            ID.to_owned(),
            format!("/docker/{ID}"),
            format!("/../{ID}"),
            format!("/system.slice/docker-{ID}.scope"),
            format!("/docker/{OTHER}/kubepods/{ID}"),
            format!("/kubepods:cri:{ID}"),
        ] {
            assert_eq!(place(&path).as_deref(), Some(path.as_str()));
        }
        let below = format!("/docker/{ID}/system.slice/x.service");
        assert_eq!(place(&below), Some(format!("/docker/{ID}")));
        for path in [
            String::new(),
            "/".to_owned(),
            "/user.slice".to_owned(),
            format!("/docker/{ID}0"),
            format!("/docker/{}", &ID[1..]),
            format!("/docker/x{ID}"),
            format!("/docker/{ID}_1"),
            format!("/docker/{}g", &ID[1..]),
            // What is behind an empty part is not looked at, as in SPIRE.
            format!("/docker/{ID}/"),
            format!("/docker/{ID}//x"),
        ] {
            assert_eq!(place(&path), None, "{path}");
        }
    }

    #[test]
    fn id_stands_where_a_pattern_says() {
        let texts = ["/docker/<id>", "/my.slice/*/<id>/*"].map(str::to_owned);
        let patterns = Locator::ByPatterns(Patterns::parse(&texts).unwrap());
        let find = |path: &str| {
            let found = patterns.find(path.as_bytes())?;
            Some((found.id, path[..found.end].to_owned()))
        };
        let some = |id: &str, place: &str| Some((id.to_owned(), place.to_owned()));
        assert_eq!(find("/docker/a.b"), some("a.b", "/docker/a.b"));
        assert_eq!(find("/my.slice/x/c/y"), some("c", "/my.slice/x/c"));
        assert_eq!(find("/docker/"), some("", "/docker/"));
        for path in ["/docker", "/docker/a/b", "docker/a", "/mydslice/x/c/y", ""] {
            assert_eq!(find(path), None, "{path}");
        }
    }

    #[test]
    fn patterns_that_cannot_be_followed_are_refused_in_spires_words() {
        let refusal = |texts: &[&str]| {
            let texts: Vec<_> = texts.iter().map(ToString::to_string).collect();
            Patterns::parse(&texts).unwrap_err()
        };
        for pattern in ["/docker", "/<id>/<id>", "/docker-<id>.scope", ""] {
            assert_eq!(
                refusal(&[pattern]),
                format!(
                    "pattern {pattern:?} must contain the container id token \"<id>\" exactly once"
                )
            );
        }
        assert_eq!(
            refusal(&["/a/b/<id>", "/c/<id>", "/*/b/<id>"]),
            "dockerfinder: patterns must not be ambiguous: [\"/a/b/<id>\" \"/*/b/<id>\"]"
        );
        assert!(refusal(&["/<id>", "/<id>"]).contains("ambiguous"));
    }
}
