//! Encoded messages taken apart and changed, as another release, or damage, would change them.

use prost::encoding::{WireType, decode_varint, encode_key, encode_varint};

/// A field with a number.
pub fn number(tag: u32, value: u64) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(tag, WireType::Varint, &mut field);
    encode_varint(value, &mut field);
    field
}

/// A field with bytes: text, an id, or a message.
pub fn bytes(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    encode_key(tag, WireType::LengthDelimited, &mut field);
    encode_varint(value.len() as u64, &mut field);
    field.extend_from_slice(value);
    field
}

/// The fields of a message: tag, and the bytes with the key.
fn fields(message: &[u8]) -> Vec<(u32, &[u8])> {
    let (mut rest, mut fields) = (message, Vec::new());
    while !rest.is_empty() {
        let mut value = rest;
        let key = decode_varint(&mut value).unwrap();
        let head = rest.len() - value.len();
        let len = match key & 7 {
            0 => {
                let mut after = value;
                decode_varint(&mut after).unwrap();
                value.len() - after.len()
            }
            1 => 8,
            2 => {
                let mut after = value;
                let len = decode_varint(&mut after).unwrap();
                value.len() - after.len() + usize::try_from(len).unwrap()
            }
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (field, behind) = rest.split_at(head + len);
        fields.push((u32::try_from(key >> 3).unwrap(), field));
        rest = behind;
    }
    fields
}

/// The content of a field of bytes.
fn content(field: &[u8]) -> &[u8] {
    let mut rest = field;
    decode_varint(&mut rest).unwrap();
    decode_varint(&mut rest).unwrap();
    rest
}

/// A frame whose message at `path`, the first field of each tag from the outside in, is changed.
pub fn change(frame: &[u8], path: &[u32], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (format, message) = frame.split_first().unwrap();
    [&[*format], &within(message, path, change)[..]].concat()
}

fn within(message: &[u8], path: &[u32], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let Some((first, rest)) = path.split_first() else { return change(message) };
    let (mut out, mut found) = (Vec::new(), false);
    for (tag, field) in fields(message) {
        if tag == *first && !std::mem::replace(&mut found, true) {
            out.extend(bytes(tag, &within(content(field), rest, change)));
        } else {
            out.extend_from_slice(field);
        }
    }
    assert!(found, "no field {first}");
    out
}

/// A frame with one more field in the message at `path`.
pub fn add(frame: &[u8], path: &[u32], field: &[u8]) -> Vec<u8> {
    change(frame, path, &|message| [message, field].concat())
}

/// A frame with another message at `path`.
pub fn replace(frame: &[u8], path: &[u32], by: &[u8]) -> Vec<u8> {
    change(frame, path, &|_| by.to_vec())
}

/// A frame whose message at `path` lacks the fields of a tag.
pub fn remove(frame: &[u8], path: &[u32], tag: u32) -> Vec<u8> {
    change(frame, path, &|message| {
        let kept = fields(message).into_iter().filter(|(held, _)| *held != tag).map(|(_, field)| field);
        kept.collect::<Vec<_>>().concat()
    })
}

/// A frame whose message at `path` has another field of a tag.
pub fn set(frame: &[u8], path: &[u32], tag: u32, field: &[u8]) -> Vec<u8> {
    add(&remove(frame, path, tag), path, field)
}
