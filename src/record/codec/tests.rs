use smallvec::smallvec;

use super::*;
use crate::record::testing::bytes;

fn stamp(version: i64, rank: i32) -> Stamp {
    Stamp { version: Version::single(version), rank }
}

/// A record that uses everything the format has.
fn everything() -> Record {
    let cell = |value, stamp| FieldState::Lww(Cell { value, stamp });
    let (old, new) =
        (stamp(1_700_000_000_000, 10), Stamp { version: Version { major: 1_700_000_000_005, minor: 3 }, rank: -7 });
    let object = Value::Object(vec![
        ("a".into(), Value::Array(vec![Value::Int(-1), Value::Null, Value::Bool(true)])),
        ("é".into(), Value::Float(0.5)),
    ]);
    let set = Members {
        cleared: Some(stamp(1_600_000_000_000, 0)),
        entries: vec![(Value::Str("a".into()), old), (Value::Str("b".into()), new)],
    };
    let front = vec![(old.version, Value::Int(90)), (new.version, Value::Int(-20))];
    let base = Base {
        low: Version { major: 1_600_000_000_000, minor: 2 },
        high: (Version { major: 1_699_999_999_999, minor: 1 }, 0xfeed_face_cafe_beef),
        folded: vec![(20, Folded::Int(-(1 << 70))), (21, Folded::Float(2.25)), (22, Folded::Count(u64::MAX))],
    };
    let entry = |version, id, parts| Entry { version, id, parts };
    let entries = vec![
        entry(old.version, 7, smallvec![(20, Contribution::Int(i64::MIN))]),
        entry(old.version, 8, smallvec![(21, Contribution::Float(-0.125)), (22, Contribution::One)]),
        entry(new.version, 1, smallvec![(22, Contribution::One)]),
    ];
    Record {
        tombstone: Some(Version { major: 1_500_000_000_000, minor: -4 }),
        fields: vec![
            (1, cell(Value::Str("Ket\"tle".into()), new)),
            (2, cell(Value::Null, old)),
            (3, cell(object, new)),
            (300, FieldState::Set(set)),
            (70_000, FieldState::Extreme(Extreme { cleared: Some(Version::single(5)), front })),
            (u32::MAX, FieldState::Cleared(Version { major: i64::MIN, minor: i64::MAX })),
        ],
        dynamic: vec![
            ("".into(), Cell { value: Value::Bool(false), stamp: old }),
            ("z z".into(), Cell { value: Value::Float(1e300), stamp: new }),
        ],
        journals: vec![
            (4, Journal { base: Some(base), entries }),
            (
                5,
                Journal {
                    base: None,
                    entries: vec![entry(Version::single(-1), u64::MAX, smallvec![(20, Contribution::Int(5))])],
                },
            ),
        ],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn a_small_record_has_the_bytes_that_the_format_says() {
    let cell = Cell { value: Value::Int(5), stamp: stamp(7, 1) };
    let record = Record { fields: vec![(9, FieldState::Lww(cell))], ..Record::default() };
    let expected = [
        1, // format
        0, // no tombstone
        1, 14, 0, 2, // one stamp: +7, 0, rank 1 (signed numbers are zigzag)
        1, 9, 0, 0, 2, 10, // one field: id 9, lww, stamp 0, integer 5
        0,  // no dynamic members
        0,  // no journals
    ];
    assert_eq!(bytes(&record), expected);
}

#[test]
fn golden_bytes_of_format_1() {
    assert_eq!(hex(&bytes(&everything())), GOLDEN);
}

/// A record of the strategies `map`, `first` and `append`.
fn values() -> Record {
    let (old, new) = (stamp(1_700_000_000_000, 10), stamp(1_700_000_000_005, -7));
    let text = |s: &str| Value::Str(s.into());
    let cell = |value, stamp| Cell { value, stamp };
    let several = Value::Array(vec![Value::Int(1), Value::Int(2)]);
    let map = Map {
        cleared: Some(stamp(1_600_000_000_000, 0)),
        cells: vec![("a".into(), cell(Value::Null, old)), ("é".into(), cell(text("x"), new))],
    };
    let base = Base {
        low: stamp(1_600_000_000_000, 0).version,
        high: (stamp(1_699_999_999_999, 0).version, 7),
        folded: vec![
            (20, Folded::First(cell(text("oldest"), stamp(1_600_000_000_000, 30)).into())),
            (
                21,
                Folded::Append(vec![
                    cell(several, stamp(1_600_000_000_001, 10)),
                    cell(text("b"), old),
                    cell(text("b"), old),
                ]),
            ),
        ],
    };
    let entry = |stamp: Stamp, id, parts| Entry { version: stamp.version, id, parts };
    let first = |value, stamp| Contribution::First(cell(value, stamp).into());
    let append = |value, stamp| Contribution::Append(cell(value, stamp).into());
    let entries = vec![
        entry(old, 8, smallvec![(20, first(Value::Bool(true), old)), (21, append(text("c"), old))]),
        entry(new, 1, smallvec![(21, append(Value::Object(vec![("k".into(), Value::Float(0.5))]), new))]),
    ];
    let nameless = vec![entry(stamp(-5, 2), 0, smallvec![(20, first(Value::Int(-1), stamp(-5, 2)))])];
    Record {
        tombstone: None,
        fields: vec![(19, FieldState::Map(map)), (21, FieldState::Cleared(Version::single(5)))],
        dynamic: Vec::new(),
        journals: vec![(4, Journal { base: Some(base), entries }), (5, Journal { base: None, entries: nameless })],
    }
}

#[test]
fn golden_bytes_of_values_in_format_1() {
    assert_eq!(hex(&bytes(&values())), GOLDEN_VALUES);
}

/// As [`GOLDEN`].
const GOLDEN_VALUES: &str = "\
    010003fd0000dd0ee90200000000fd00d0ed902e00000000140a000d0213040100020161010002c3a90204017815030a0000\
    020401fd0000dd0ee902000000fdfecfed902e000000000702140300003c04066f6c64657374150403020014050202020204\
    fdfecfed902e0000000014040162000014040162020200080214031401011504140401630a00010115040d0601016b030000\
    00000000e03f050001090000011403040201";

/// Written down once; a change here is a new format version.
const GOLDEN: &str = "\
    0101fd0030ef7dba0200000703fd0000dd0ee90200000000fd00d0ed902e00000000140a060d0601000204074b657422746c\
    6502000100030002060201610503020100010102c3a903000000000000e03ffb2c01010100020104016102040162fc701101\
    0002010a0002fd00d0ca9f170300000002b40a060227fcffffffff03fdfffffffffffffffffdfeffffffffffffff02000101\
    00037a207a02039c7500883ce4377e020401fd0000dd0ee902000004fdfecfed902e00000002fdefbefecacefaedfe031400\
    feffffffffffffffff7f00000000000000150100000000000002401602fdffffffffffffffff03020007011400fdffffffff\
    ffffffff000008021501000000000000c0bf16020a06010116020500010100fdffffffffffffffff0114000a";

#[test]
fn equal_stamps_are_stored_once() {
    let cell = |at: u32, s| (at, FieldState::Lww(Cell { value: Value::Null, stamp: s }));
    let record = |b| Record { fields: vec![cell(1, stamp(1 << 40, 5)), cell(2, b)], ..Record::default() };
    let (same, other) = (bytes(&record(stamp(1 << 40, 5))), bytes(&record(stamp(1 << 41, 5))));
    assert_eq!(other.len() - same.len(), 11, "a far version takes 9 bytes, minor and rank one each");
}

#[test]
fn damaged_bytes_give_an_error_or_a_record_never_a_panic() {
    for whole in [bytes(&everything()), bytes(&values())] {
        for end in 0..whole.len() {
            assert!(decode(&whole[..end]).is_err(), "cut at {end}");
        }
        assert!(decode(&[&whole[..], &[0]].concat()).is_err(), "one byte too many");
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                if let Ok(record) = decode(&damaged) {
                    let mut again = Vec::new();
                    encode(&record, &mut again);
                    assert_eq!(decode(&again).unwrap(), record);
                }
            }
        }
    }
}

#[test]
fn lengths_without_content_allocate_nothing() {
    for claimed in [u64::MAX, 1 << 60, 1 << 25] {
        let mut body = vec![FORMAT, 0, 253];
        body.extend(claimed.to_le_bytes());
        assert_eq!(decode(&body).unwrap_err().kind(), Kind::Corrupt, "{claimed} stamps");
        let mut body = vec![FORMAT, 0, 0, 0, 1, 253];
        body.extend(claimed.to_le_bytes());
        assert_eq!(decode(&body).unwrap_err().kind(), Kind::Corrupt, "a name of {claimed} bytes");
    }
}

#[test]
fn a_record_beyond_all_bounds_is_refused() {
    let cell = Cell { value: Value::Str("x".repeat(LIMIT).into()), stamp: stamp(7, 1) };
    let mut large = Vec::new();
    encode(&Record { fields: vec![(9, FieldState::Lww(cell))], ..Record::default() }, &mut large);
    let error = decode(&large).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.message().contains("at most 67108864"), "{error}");
}

#[test]
fn nesting_without_end_is_refused() {
    let mut body = vec![FORMAT, 0, 1, 0, 0, 0, 1, 9, 0, 0];
    body.extend([5, 1].repeat(1 << 20));
    assert!(decode(&body).is_err());
}

#[test]
fn a_form_that_no_merge_writes_is_refused() {
    let swapped = [1, 0, 1, 14, 0, 2, 2, 9, 0, 0, 0, 8, 0, 0, 0, 0, 0];
    assert!(decode(&swapped).is_err(), "fields out of order");
    let nan = [&[1, 0, 1, 14, 0, 2, 1, 9, 0, 0, 3][..], &f64::NAN.to_le_bytes(), &[0, 0]].concat();
    assert!(decode(&nan).is_err(), "not a number");
    let negative_zero = [&[1, 0, 1, 14, 0, 2, 1, 9, 0, 0, 3][..], &(-0.0_f64).to_le_bytes(), &[0, 0]].concat();
    assert!(decode(&negative_zero).is_err(), "negative zero");
    let zero = [&[1, 0, 1, 14, 0, 2, 1, 9, 0, 0, 3][..], &0.0_f64.to_le_bytes(), &[0, 0]].concat();
    assert!(decode(&zero).is_ok());
    assert!(decode(&[]).is_err());
    assert!(decode(&[2, 0, 0, 0, 0, 0]).unwrap_err().message().contains("format 2"));
    assert_eq!(decode(&[1, 0, 0, 0, 0, 0]).unwrap(), Record::default());
}
