//! Writes `impl Bounded` for every message that a request holds, from the option `netd.v1.bound` of its fields. A field of
//! text, bytes or many items without the option is an error of the build.

use std::{collections::BTreeMap, fmt::Write as _};

use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, ExtensionDescriptor, FieldDescriptor, Kind,
    MessageDescriptor, Value,
};

type Result<T> = std::result::Result<T, String>;

/// How much a field may hold.
struct Bound {
    items: u32,
    bytes: u32,
    key_bytes: u32,
}

/// The code.
pub fn code(pool: &DescriptorPool) -> Result<String> {
    let option = pool
        .get_extension_by_name("netd.v1.bound")
        .ok_or("there is no option netd.v1.bound")?;
    let mut found = BTreeMap::new();
    let services = pool.services().filter(|s| s.package_name() == "netd.v1");
    for method in services.flat_map(|s| s.methods().collect::<Vec<_>>()) {
        collect(&method.input(), &mut found);
    }
    let mut code = String::new();
    for message in found.values() {
        implementation(message, &option, &mut code)?;
    }
    Ok(code)
}

/// The message, and those in its fields.
fn collect(message: &MessageDescriptor, found: &mut BTreeMap<String, MessageDescriptor>) {
    if !ours(message)
        || found
            .insert(message.full_name().to_owned(), message.clone())
            .is_some()
    {
        return;
    }
    for field in message.fields() {
        if let (Kind::Message(inner), false) = (field.kind(), field.is_map()) {
            collect(&inner, found);
        }
    }
}

fn ours(message: &MessageDescriptor) -> bool {
    message.package_name() == "netd.v1"
}

fn bound(field: &FieldDescriptor, option: &ExtensionDescriptor) -> Bound {
    let options: DynamicMessage = field.options();
    let value = options.get_extension(option);
    let number = |name: &str| match &*value {
        Value::Message(bound) => bound
            .get_field_by_name(name)
            .and_then(|value| value.as_u32())
            .unwrap_or(0),
        _ => 0,
    };
    Bound {
        items: number("items"),
        bytes: number("bytes"),
        key_bytes: number("key_bytes"),
    }
}

fn implementation(
    message: &MessageDescriptor,
    option: &ExtensionDescriptor,
    code: &mut String,
) -> Result<()> {
    let mut body = String::new();
    for field in message.fields() {
        let bound = bound(&field, option);
        check(&field, &bound, &mut body).map_err(|why| format!("{}: {why}", field.full_name()))?;
    }
    // Writing to memory cannot fail.
    let _ = writeln!(
        code,
        "impl Bounded for v1::{} {{\n    fn within(&self) -> Result<(), Excess> {{\n{body}        Ok(())\n    }}\n}}",
        path(message.full_name()),
    );
    Ok(())
}

fn check(field: &FieldDescriptor, bound: &Bound, body: &mut String) -> Result<()> {
    let name = field.name();
    let member = member(name);
    let need = |what: &str, number: u32| match number {
        0 => Err(format!("a bound of {what} is missing")),
        number => Ok(number),
    };
    let line = if field.is_map() {
        let Kind::Message(entry) = field.kind() else {
            return Err("a map without entries".to_owned());
        };
        let text = |kind: Kind| matches!(kind, Kind::String);
        if !text(entry.map_entry_key_field().kind()) || !text(entry.map_entry_value_field().kind())
        {
            return Err("a map of something else than text".to_owned());
        }
        let (items, keys, bytes) = (
            need("items", bound.items)?,
            need("key_bytes", bound.key_bytes)?,
            need("bytes", bound.bytes)?,
        );
        format!("map({name:?}, &self.{member}, {items}, {keys}, {bytes})?;")
    } else if field.cardinality() == Cardinality::Repeated {
        let items = need("items", bound.items)?;
        match field.kind() {
            Kind::String => {
                let bytes = need("bytes", bound.bytes)?;
                format!("texts({name:?}, &self.{member}, {items}, {bytes})?;")
            }
            Kind::Message(inner) if ours(&inner) => {
                format!("messages({name:?}, &self.{member}, {items})?;")
            }
            Kind::Message(_) | Kind::Bytes => return Err("a list of what is not known".to_owned()),
            _ => format!("items({name:?}, self.{member}.len(), {items})?;"),
        }
    } else {
        single(field, bound, &member, need)?
    };
    if !line.is_empty() {
        let _ = writeln!(body, "        {line}");
    }
    Ok(())
}

/// A field that is there once at most.
fn single(
    field: &FieldDescriptor,
    bound: &Bound,
    member: &str,
    need: impl Fn(&str, u32) -> Result<u32>,
) -> Result<String> {
    let name = field.name();
    let choice = field
        .containing_oneof()
        .filter(|_| !field.field_descriptor_proto().proto3_optional());
    let call = match field.kind() {
        Kind::String => format!("text({name:?}, value, {})", need("bytes", bound.bytes)?),
        Kind::Bytes => return Err("bytes are not known".to_owned()),
        Kind::Message(inner) if inner.full_name() == "google.protobuf.FieldMask" => format!(
            "texts({name:?}, &value.paths, {}, {})",
            need("items", bound.items)?,
            need("bytes", bound.bytes)?
        ),
        Kind::Message(inner) if ours(&inner) => format!("message({name:?}, value)"),
        // Times and durations, numbers.
        _ => return Ok(String::new()),
    };
    let message = matches!(field.kind(), Kind::Message(_));
    Ok(match choice {
        Some(choice) => {
            let parent = path(field.parent_message().full_name());
            let module = snake(&parent);
            let choice_member = self::member(choice.name());
            format!(
                "if let Some(v1::{module}::{}::{}(value)) = &self.{choice_member} {{ {call}?; }}",
                camel(choice.name()),
                camel(name)
            )
        }
        None if message || field.supports_presence() => {
            format!("if let Some(value) = &self.{member} {{ {call}?; }}")
        }
        None => format!("{{ let value = &self.{member}; {call}?; }}"),
    })
}

/// The message's name in Rust; requests hold none that stands in another.
fn path(full_name: &str) -> String {
    full_name.rsplit('.').next().unwrap_or(full_name).to_owned()
}

/// The field's name in Rust.
fn member(name: &str) -> String {
    match name {
        "type" | "match" | "move" | "use" | "where" | "loop" | "ref" => format!("r#{name}"),
        name => name.to_owned(),
    }
}

fn camel(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect()
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
