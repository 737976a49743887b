//! Maps.

use super::{Arguments, BTreeMap, Table, Value, map_of, text_of};

pub(super) const TABLE: Table = &[
    ("dict", dict),
    ("get", |of| {
        let [map, name] = of.exactly()?;
        let found = map_of(map)?.get(text_of(name)?);
        Ok(found.cloned().unwrap_or_else(|| "".into()))
    }),
    ("hasKey", |of| {
        let [map, name] = of.exactly()?;
        Ok(map_of(map)?.contains_key(text_of(name)?).into())
    }),
    ("keys", |of| {
        let mut keys = Vec::new();
        for map in of.all() {
            keys.extend(map_of(map)?.keys().cloned());
        }
        Ok(Value::list(keys))
    }),
    ("omit", |of| select(of, |is_named| !is_named)),
    ("pick", |of| select(of, |is_named| is_named)),
    ("values", |of| {
        let [map] = of.exactly()?;
        Ok(Value::List(map_of(map)?.values().cloned().collect()))
    }),
];

/// Names and values in turn; the last name may have none.
fn dict(of: &Arguments<'_>) -> Result<Value, String> {
    let mut map = BTreeMap::new();
    for pair in of.all().chunks(2) {
        let (name, value) = match pair {
            [name, value] => (name, value.clone()),
            [name] => (name, "".into()),
            _ => continue,
        };
        map.insert(name.to_string(), value);
    }
    Ok(Value::Map(map))
}

fn select(of: &Arguments<'_>, keeps: impl Fn(bool) -> bool) -> Result<Value, String> {
    let (map, names) = of.first_and_rest()?;
    let names: Vec<_> = names.iter().map(text_of).collect::<Result<_, _>>()?;
    let chosen = map_of(map)?
        .iter()
        .filter(|(name, _)| keeps(names.contains(&name.as_str())));
    let chosen = chosen.map(|(name, value)| (name.clone(), value.clone()));
    Ok(Value::Map(chosen.collect()))
}
