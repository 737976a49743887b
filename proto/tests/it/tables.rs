//! The compiled contracts, field by field, against tables of names, numbers, types and labels that
//! were taken from the descriptors of the programs we interoperate with.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use proto::descriptors;

/// Rows of these kinds are compared; the others say in which file something is written.
const COMPARED: [&str; 6] = ["svc", "rpc", "msg", "fld", "enm", "val"];

/// A package of our own has no table; every other one must have.
const OWN_PREFIX: &str = "conclave.";

#[test]
fn contracts_and_tables_say_the_same() {
    let (packages, wanted) = tables();
    let compiled: BTreeSet<_> = compiled_rows()
        .into_iter()
        .filter(|(package, _)| {
            !package.starts_with("google.protobuf") && !package.starts_with(OWN_PREFIX)
        })
        .collect();
    let tabulated: BTreeSet<_> = compiled
        .iter()
        .map(|(package, _)| package.clone())
        .collect();
    assert_eq!(packages, tabulated);

    let compiled: BTreeSet<_> = compiled.into_iter().map(|(_, row)| row).collect();
    let missing: Vec<_> = wanted.difference(&compiled).collect();
    let extra: Vec<_> = compiled.difference(&wanted).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nextra: {extra:#?}"
    );
}

/// The packages that have a table, and the compared rows of all tables.
fn tables() -> (BTreeSet<String>, BTreeSet<String>) {
    let mut packages = BTreeSet::new();
    let mut rows = BTreeSet::new();
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tables")).unwrap() {
        for row in fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let (kind, rest) = row.split_once('\t').unwrap();
            if kind == "pkg" {
                let package = if rest == "(none)" { "" } else { rest };
                packages.insert(package.to_owned());
            } else if COMPARED.contains(&kind) {
                rows.insert(row.to_owned());
            }
        }
    }
    (packages, rows)
}

/// Each row with the package it belongs to.
fn compiled_rows() -> Vec<(String, String)> {
    let pool = descriptors::pool();
    let mut rows = Vec::new();
    for service in pool.services() {
        let package = service.package_name().to_owned();
        rows.extend(service_rows(&service).map(|row| (package.clone(), row)));
    }
    for message in pool
        .all_messages()
        .filter(|message| !message.is_map_entry())
    {
        let package = message.package_name().to_owned();
        rows.extend(message_rows(&message).map(|row| (package.clone(), row)));
    }
    for r#enum in pool.all_enums() {
        let package = r#enum.package_name().to_owned();
        rows.extend(enum_rows(&r#enum).map(|row| (package.clone(), row)));
    }
    rows
}

fn service_rows(service: &ServiceDescriptor) -> impl Iterator<Item = String> {
    let name = service.full_name().to_owned();
    let methods: Vec<_> = service
        .methods()
        .map(|method| {
            let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                (false, false) => "unary",
                (false, true) => "server_stream",
                (true, false) => "client_stream",
                (true, true) => "bidi_stream",
            };
            let (input, output) = (method.input(), method.output());
            format!(
                "rpc\t/{name}/{}\t{}\t{}\t{kind}",
                method.name(),
                input.full_name(),
                output.full_name()
            )
        })
        .collect();
    std::iter::once(format!("svc\t{name}")).chain(methods)
}

fn message_rows(message: &MessageDescriptor) -> impl Iterator<Item = String> {
    let name = message.full_name().to_owned();
    let fields: Vec<_> = message
        .fields()
        .map(|field| format!("fld\t{name}\t{}", field_columns(&field)))
        .collect();
    std::iter::once(format!("msg\t{name}")).chain(fields)
}

fn enum_rows(r#enum: &EnumDescriptor) -> impl Iterator<Item = String> {
    let name = r#enum.full_name().to_owned();
    let values: Vec<_> = r#enum
        .values()
        .map(|value| format!("val\t{name}\t{}\t{}", value.number(), value.name()))
        .collect();
    std::iter::once(format!("enm\t{name}")).chain(values)
}

fn field_columns(field: &FieldDescriptor) -> String {
    let (r#type, label) = if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            panic!("a map field without its entry message");
        };
        let key = kind_name(&entry.map_entry_key_field().kind());
        let value = kind_name(&entry.map_entry_value_field().kind());
        (format!("map<{key},{value}>"), "map".to_owned())
    } else {
        (kind_name(&field.kind()), label(field))
    };
    let mut columns = format!("{}\t{}\t{type}\t{label}", field.number(), field.name());
    if field.json_name() != default_json_name(field.name()) {
        columns.push_str(&format!("\tjson={}", field.json_name()));
    }
    if field
        .field_descriptor_proto()
        .options
        .as_ref()
        .is_some_and(|options| options.deprecated())
    {
        columns.push_str("\tdeprecated");
    }
    columns
}

fn label(field: &FieldDescriptor) -> String {
    if field.cardinality() == Cardinality::Repeated {
        "repeated".to_owned()
    } else if field.field_descriptor_proto().proto3_optional() {
        "optional".to_owned()
    } else if let Some(oneof) = field.containing_oneof() {
        format!("oneof:{}", oneof.name())
    } else {
        "single".to_owned()
    }
}

fn kind_name(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(r#enum) => r#enum.full_name().to_owned(),
        scalar => format!("{scalar:?}"),
    }
}

fn default_json_name(name: &str) -> String {
    let mut json = String::new();
    let mut upper = false;
    for character in name.chars() {
        if character == '_' {
            upper = true;
        } else if upper {
            json.extend(character.to_uppercase());
            upper = false;
        } else {
            json.push(character);
        }
    }
    json
}
