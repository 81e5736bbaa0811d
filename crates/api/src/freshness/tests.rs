use super::*;
use proptest::prelude::*;

fn version_vectors() -> impl Strategy<Value = VersionVector> {
    let origin = ("[a-z][a-z0-9]{0,8}", 1u16..=1024)
        .prop_map(|(region, shard)| OriginShard { region: region.parse().unwrap(), shard: shard.try_into().unwrap() });
    let position =
        (any::<u32>(), any::<u64>()).prop_map(|(epoch, seq)| Position { epoch: Epoch(epoch), seq: Seq(seq) });
    prop::collection::vec((origin, position), 0..20).prop_map(|all| all.into_iter().collect())
}

fn demands() -> impl Strategy<Value = Demand> {
    let micros = || (0..=DURATION_MAX.as_micros() as u64).prop_map(Duration::from_micros);
    let enders = [OnStale::Serve, OnStale::Fail];
    let on_stale = (
        prop::sample::subsequence(vec![OnStale::Redirect, OnStale::Wait], 0..=2),
        prop::option::of(prop::sample::select(enders.to_vec())),
    )
        .prop_map(|(mut words, end)| {
            words.extend(end);
            (!words.is_empty()).then_some(words)
        });
    (micros(), on_stale, prop::option::of(micros())).prop_map(|(freshness, on_stale, max_wait)| Demand {
        freshness: Some(RequiredFreshness(freshness)),
        on_stale,
        max_wait,
        ..Demand::default()
    })
}

proptest! {
    #[test]
    fn decoding_a_token_undoes_encoding(vv in version_vectors()) {
        prop_assert_eq!(decode_token(&encode_token(&vv).unwrap()), Ok(vv));
    }

    #[test]
    fn a_printed_demand_reads_back(demand in demands()) {
        let text = required_freshness_text(&demand).unwrap();
        prop_assert_eq!(parse_required_freshness(&text), Ok(demand));
    }

    #[test]
    fn garbage_is_refused_or_read_but_never_panics(text in ".{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_required_freshness(&text);
        let _ = decode_token(&text);
        let mut framed = vec![TOKEN_FORMAT];
        framed.extend(&bytes);
        let _ = decode_token(&URL_SAFE_NO_PAD.encode(&framed));
        let _ = demand(|_| std::iter::once(bytes.as_slice()));
        let _ = parse_staleness(&text);
    }

    #[test]
    fn a_flipped_bit_never_panics(vv in version_vectors(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = URL_SAFE_NO_PAD.decode(encode_token(&vv).unwrap()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let _ = decode_token(&URL_SAFE_NO_PAD.encode(bytes));
    }

    #[test]
    fn staleness_is_rounded_up(micros in 0u64..1 << 50) {
        let staleness = Duration::from_micros(micros);
        let read = parse_staleness(&staleness_text(staleness)).unwrap();
        prop_assert!(read >= staleness && read - staleness < Duration::from_millis(1));
    }
}

#[track_caller]
fn refused(text: &str, says: &str) {
    let error = parse_required_freshness(text).unwrap_err().to_string();
    assert!(error.contains(says), "{text:?}: {error}");
}

#[test]
fn a_full_demand_is_read() {
    let demand = parse_required_freshness("100ms; on-stale=wait, fail;max-wait=2s").unwrap();
    assert_eq!(demand.freshness, Some(RequiredFreshness(Duration::from_millis(100))));
    assert_eq!(demand.on_stale, Some(vec![OnStale::Wait, OnStale::Fail]));
    assert_eq!(demand.max_wait, Some(Duration::from_secs(2)));
}

#[test]
fn a_bad_freshness_names_its_fault() {
    refused("", "\"\" is no duration");
    refused("100", "\"100\" is no duration");
    refused("ms", "\"ms\" is no duration");
    refused("-1ms", "is no duration");
    refused("1.5s", "is no duration");
    refused("99999999999999999999999ms", "more than 86400s");
    refused("18446744073709551615s", "more than 86400s");
    refused("1s; on-stale=panic", "\"panic\" is none of wait");
    refused("1s; on-stale=", "\"\" is none of wait");
    refused("1s; on-stale=serve,wait", "\"wait\" is never reached");
    refused("1s; on-stale=wait,wait", "\"wait\" is never reached");
    refused("1s; max-wait=soon", "max-wait: \"soon\" is no duration");
    refused("1s; max-wait=1s; max-wait=2s", "given twice");
    refused("1s; retry=1", "unknown parameter \"retry\"");
    refused("1s;", "unknown parameter \"\"");
}

#[test]
fn a_token_of_format_one_stays_as_it_is() {
    let origin = OriginShard { region: "us".parse().unwrap(), shard: 2.try_into().unwrap() };
    let vv: VersionVector = [(origin, Position { epoch: Epoch(1), seq: Seq(300) })].into_iter().collect();
    assert_eq!(encode_token(&vv).unwrap(), "AQECdXMBAgGsAg");
    assert_eq!(decode_token("AQECdXMBAgGsAg"), Ok(vv));
}

#[test]
fn a_bad_token_names_its_fault() {
    assert_eq!(decode_token("!"), Err(TokenError::Base64));
    assert_eq!(decode_token(""), Err(TokenError::Damaged));
    assert_eq!(decode_token(&URL_SAFE_NO_PAD.encode([9, 0])), Err(TokenError::Format(9)));
    assert_eq!(decode_token(&URL_SAFE_NO_PAD.encode([1, 0, 0])), Err(TokenError::Damaged));
    assert_eq!(decode_token(&"A".repeat(TOKEN_TEXT_BYTES + 1)), Err(TokenError::TooLong));
    // A list said to hold 2^32 regions must not be believed before it is there.
    assert_eq!(decode_token(&URL_SAFE_NO_PAD.encode([1, 0xff, 0xff, 0xff, 0xff, 0x0f])), Err(TokenError::Damaged));
}

#[test]
fn every_shard_of_one_region_fits_into_a_token() {
    let region: RegionName = "us-east".parse().unwrap();
    let position = Position { epoch: Epoch(1), seq: Seq(1 << 28) };
    let vv: VersionVector =
        ShardNumber::all(1024).map(|shard| (OriginShard { region: region.clone(), shard }, position)).collect();
    assert!(encode_token(&vv).is_ok());
}

#[test]
fn the_same_header_twice_is_refused() {
    let twice = |name| [b"strong".as_slice(), b"eventual"].into_iter().filter(move |_| name == X_CONSISTENCY);
    assert_eq!(demand(twice), Err(HeaderError::Twice("X-Consistency")));
    let bytes = |name| std::iter::once(b"\xff".as_slice()).filter(move |_| name == X_CONSISTENCY_TOKEN);
    assert_eq!(demand(bytes), Err(HeaderError::NotText("X-Consistency-Token")));
    assert_eq!(demand(|_| std::iter::empty()), Ok(Demand::default()));
}
