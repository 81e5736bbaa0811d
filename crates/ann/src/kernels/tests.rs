use super::*;
use crate::memory::Line;
use crate::storage::datatype::Number;
use crate::testing::Rng;

/// The reference and every supported twin return the same bits.
fn check(a: &[f32], b: &[f32], what: &str) {
    for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
        let twin = set.kernels().expect("supported");
        let compare = |name: &str, found: f32, expected: f32| {
            let equal = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
            assert!(equal, "{name} on {set:?}, {what}: {found:e}, defined as {expected:e}");
        };
        for (name, twin, definition) in [
            ("dot", twin.dot, scalar::KERNELS.dot),
            ("squared_euclid", twin.squared_euclid, scalar::KERNELS.squared_euclid),
            ("manhattan", twin.manhattan, scalar::KERNELS.manhattan),
        ] {
            compare(name, twin(a, b), definition(a, b));
        }
        // Rounded vectors are compared as converted to `f32`.
        let before = b.len() % 7;
        let rounded: Vec<bf16> = std::iter::repeat_n(bf16::ONE, before).chain(b.iter().map(|x| bf16::of(*x))).collect();
        let rounded = &rounded[before..];
        let wide: Vec<f32> = rounded.iter().map(|x| x.wide()).collect();
        for (name, twin, definition) in [
            ("dot_bf16", twin.dot_bf16, scalar::KERNELS.dot),
            ("squared_euclid_bf16", twin.squared_euclid_bf16, scalar::KERNELS.squared_euclid),
            ("manhattan_bf16", twin.manhattan_bf16, scalar::KERNELS.manhattan),
        ] {
            compare(name, twin(a, rounded), definition(a, &wide));
        }
    }
}

#[test]
fn twins_equal_the_definition_at_every_length_and_alignment() {
    let mut rng = Rng::new(1);
    let a: Vec<f32> = (0..1_200).map(|_| rng.normal()).collect();
    let b: Vec<f32> = (0..1_200).map(|_| rng.normal()).collect();
    for len in 0..=1_100 {
        for (i, j) in [(0, 0), (1, 0), (0, 3), (5, 2), (8, 8), (15, 7)] {
            check(&a[i..i + len], &b[j..j + len], &format!("length {len}, starts {i} and {j}"));
        }
    }
}

#[test]
fn twins_equal_the_definition_where_numbers_are_extreme() {
    let odd = [0.0, -0.0, 1e-45, -1e-45, 1e-30, -1e-30, 1.0, -1.0, 3e38, -3e38, f32::MIN_POSITIVE];
    for seed in 0..2_000 {
        let mut rng = Rng::new(seed);
        let len = 1 + rng.below(130);
        let mut draw = || (0..len).map(|_| odd[rng.below(odd.len())]).collect::<Vec<_>>();
        check(&draw(), &draw(), &format!("seed {seed}"));
    }
}

#[test]
fn the_definition_computes_what_its_names_say() {
    let mut rng = Rng::new(2);
    for len in [1, 2, 63, 64, 65, 100, 1_000] {
        let a: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
        let b: Vec<f32> = (0..len).map(|_| rng.normal()).collect();
        let sum = |f: fn(f64, f64) -> f64| -> f64 { a.iter().zip(&b).map(|(x, y)| f((*x).into(), (*y).into())).sum() };
        let close = |x: f32, y: f64| assert!((f64::from(x) - y).abs() < 1e-4 * (1.0 + y.abs()), "{x} beside {y}");
        close(scalar::dot(&a, &b), sum(|x, y| x * y));
        close(scalar::squared_euclid(&a, &b), sum(|x, y| (x - y) * (x - y)));
        close(scalar::manhattan(&a, &b), sum(|x, y| (x - y).abs()));
    }
}

/// Results that graphs depend on must be equal on all machines, so they are pinned.
#[test]
fn the_definition_gives_the_same_bits_everywhere() {
    use estimates::EstimateInput;
    let kernels = scalar::KERNELS;
    let mut rng = Rng::new(4);
    let mut checksum = 0;
    for len in 1..=300 {
        let mut draw = |len: usize| (0..len).map(|_| rng.normal()).collect::<Vec<_>>();
        let (a, b) = (draw(len), draw(len));
        let mut found = vec![(kernels.dot)(&a, &b), (kernels.squared_euclid)(&a, &b), (kernels.manhattan)(&a, &b)];
        let (mut window, factors) = (draw(len.next_power_of_two()), draw(len.next_power_of_two()));
        (kernels.hadamard)(&mut window, &factors);
        found.extend(window);
        let mut codes = [vec![0; len], vec![0; len]];
        for (numbers, code) in [&a, &b].into_iter().zip(&mut codes) {
            found.push((kernels.to_bytes)(numbers, 127.0 / (kernels.largest)(numbers), code) as f32);
        }
        let mut positive = vec![0; len];
        let sums = (kernels.code_difference)((&codes[0], 0.3), (&codes[1], 0.2), &mut positive);
        found.extend([sums.square, sums.magnitude, sums.along, sums.signed]);
        let mut column = || std::array::from_fn(|_| half::bf16::from_f32(draw(1)[0]));
        let (added, factors) = (column(), column());
        let sums = std::array::from_fn(|i| (i * len) as u16);
        let mut estimates = [0.0; fast_scan::BLOCK_POINTS];
        let (above, scale, here, worst) = (100.0, 0.01, 0.7, 0.0);
        let input = EstimateInput { sums: &sums, above, scale, added: &added, factors: &factors, here, worst };
        found.push((kernels.estimates)(input, &mut estimates) as f32);
        found.extend(estimates);
        let bytes = found.iter().flat_map(|x| x.to_bits().to_le_bytes()).chain(codes.concat()).chain(positive);
        checksum = crc32c::crc32c_append(checksum, &bytes.collect::<Vec<_>>());
    }
    assert_eq!(checksum, 0x993f_a201, "found {checksum:#x}");
}

#[test]
fn the_environment_may_rule_out_the_faster_sets() {
    let fastest_up_to = |limit| others().map(|(set, _)| set).take_while(|set| *set <= limit).last();
    for (name, set) in ["scalar", "neon", "avx2", "avx512"].into_iter().zip(InstructionSet::ALL) {
        assert_eq!(Some(InstructionSet::best_up_to(Some(name))), fastest_up_to(set), "{name}");
    }
    assert_eq!(InstructionSet::best_up_to(Some("scalar")), InstructionSet::Scalar);
    assert_eq!(InstructionSet::best_up_to(None), InstructionSet::best_up_to(Some("nonsense")));
    assert!(InstructionSet::best().is_supported());
}

#[test]
fn twins_sum_the_same_bytes() {
    use fast_scan::{BLOCK_POINTS, LANE, PADDED};
    for groups in 0..70 {
        let mut rng = Rng::new(groups as u64);
        let len = groups * LANE * PADDED;
        let start = groups % 5;
        let block: Vec<u8> = (0..start + len).map(|_| rng.below(256) as u8).collect();
        // The largest table whose sums fit.
        let most = 255.min(65_535 / (groups * PADDED).max(1));
        let table: Vec<u8> = (0..start + len).map(|_| (most - rng.below(1 + most / 4)) as u8).collect();
        let (block, table) = (&block[start..], &table[start..]);
        let mut expected = [0; BLOCK_POINTS];
        for (i, sum) in expected.iter_mut().enumerate() {
            for (codes, table) in block.chunks(LANE).zip(table.chunks(LANE)) {
                *sum += u16::from(table[usize::from(codes[i % LANE] >> (4 * (i / LANE)) & 15)]);
            }
        }
        for set in InstructionSet::ALL.into_iter().filter(|set| set.is_supported()) {
            for limit in [0, expected[3], expected[30], 32_768, u16::MAX] {
                let mut found = [7; BLOCK_POINTS];
                let met = (set.kernels().expect("supported").fast_scan)(block, table, limit, &mut found);
                assert_eq!(found, expected, "{set:?}, {groups} groups");
                let within = |i: &usize| expected[*i] <= limit;
                assert_eq!(met, (0..32).filter(within).map(|i| 1 << i).sum(), "{set:?}, {groups} groups, {limit}");
            }
        }
    }
}

#[test]
fn twins_multiply_columns_alike() {
    use columns::{QUAD, ROWS};
    let mut rng = Rng::new(3);
    let mut draw = |len: usize, or: [u8; 2]| {
        (0..len).map(|_| [rng.below(256) as u8, or[rng.below(2)]][rng.below(2)]).collect::<Vec<_>>()
    };
    // The last is as long as any vector, with the largest possible sums.
    for (quads, groups) in (1..=275).map(|quads| (quads, quads % 10)).chain([(16_384, 1)]) {
        let vector: Vec<u8> =
            draw(quads * QUAD, [127, 129]).into_iter().map(|x| if x == 128 { 127 } else { x }).collect();
        let vector = if groups == 1 { vec![129; vector.len()] } else { vector };
        let columns: Vec<Line> =
            draw(groups * quads * Line::BYTES, [0, 255]).as_chunks().0.iter().map(|line| Line(*line)).collect();
        let mut expected = vec![0_i64; groups * ROWS];
        for (row, sum) in expected.iter_mut().enumerate() {
            for (i, x) in vector.iter().enumerate() {
                let line = &columns[row / ROWS * quads + i / QUAD];
                *sum += i64::from(x.cast_signed()) * i64::from(line.0[row % ROWS * QUAD + i % QUAD]);
            }
        }
        for (set, kernels) in others() {
            let mut found = vec![9; groups * ROWS];
            (kernels.columns)(vector.as_chunks().0, &columns, &mut found);
            assert!(found.iter().zip(&expected).all(|(a, b)| i64::from(*a) == *b), "{set:?}, {quads} x {groups}");
        }
    }
}

fn others() -> impl Iterator<Item = (InstructionSet, Kernels)> {
    let supported = InstructionSet::ALL.into_iter().filter(|set| set.is_supported());
    supported.map(|set| (set, set.kernels().expect("supported")))
}

#[test]
fn twins_compare_bits_alike() {
    for words in 0..70_usize {
        let mut rng = Rng::new(words as u64);
        let mut draw = |len: usize| (0..len).map(|_| rng.next()).collect::<Vec<u64>>();
        let planes = draw(words.next_multiple_of(binary::WORDS) * binary::PLANES);
        let rows: [Vec<u64>; binary::ROWS] = std::array::from_fn(|row| draw(words + row));
        let bit = |words: &[u64], i: usize| words.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1);
        let number = |i: usize| -> i64 {
            let planes = &planes[i / 64 / binary::WORDS * binary::WORDS * binary::PLANES..];
            let of_plane =
                |plane: usize| i64::from(bit(&planes[plane * binary::WORDS..], i % (64 * binary::WORDS))) << plane;
            (0..binary::PLANES).map(of_plane).sum()
        };
        let product = |row: &Vec<u64>| -> i64 {
            let term = |i: usize| if bit(row, i) { 2 * number(i) - 15 } else { 15 - 2 * number(i) };
            (0..words * 64).map(term).sum()
        };
        let expected = rows.each_ref().map(product);
        let rows = rows.each_ref().map(|row| &row[..]);
        for (set, kernels) in others() {
            let found = (kernels.binary_differences)(&rows, words, &planes);
            let products = found.map(|found| 15 * 64 * words as i64 - 2 * i64::from(found));
            assert_eq!(products, expected, "{set:?}, {words} words");
            if words > 0 {
                // The second group has the same rows in reverse order.
                let column = |i: usize| rows.map(|row| row[i]);
                let mut columns: Vec<_> = (0..words).map(column).collect();
                columns.extend((0..words).map(column).map(|mut column| {
                    column.reverse();
                    column
                }));
                let mut sums = [[9; binary::ROWS]; 2];
                (kernels.binary_columns)(&columns, words, &planes, &mut sums);
                sums[1].reverse();
                assert_eq!(sums, [found; 2], "{set:?}, {words} words by column");
            }
        }
    }
}

#[test]
fn twins_multiply_half_bytes_alike() {
    use crate::memory::Line;
    for pieces in 0..70_usize {
        let mut rng = Rng::new(pieces as u64);
        let len = pieces * 16;
        let half = len.next_multiple_of(Line::BYTES);
        let cases = [255, 0].map(|byte| (vec![byte; len], vec![128; 2 * half]));
        let drawn = (0..len).map(|_| rng.below(256) as u8).collect::<Vec<_>>();
        let query = (0..2 * half).map(|_| rng.below(256) as u8).collect::<Vec<_>>();
        for (code, query) in cases.into_iter().chain([(drawn, query)]) {
            let signed = |x: u8| i32::from(x.cast_signed());
            let number = |i: usize| {
                i32::from(code[i] & 15) * signed(query[i]) + i32::from(code[i] >> 4) * signed(query[half + i])
            };
            let expected: i32 = (0..len).map(number).sum();
            for (set, kernels) in others() {
                assert_eq!((kernels.int4_dot)(&code, &query), expected, "{set:?}, {len} bytes");
            }
        }
    }
}

#[test]
fn twins_multiply_bytes_alike() {
    use crate::kernels::columns::ROWS;
    use crate::memory::{Line, bytes_of, bytes_of_mut};
    let lines = |len: usize, mut draw: Box<dyn FnMut() -> u8>| {
        let mut lines = vec![Line::ZERO; len];
        bytes_of_mut(&mut lines).iter_mut().for_each(|byte| *byte = draw());
        lines
    };
    // The last has the largest length whose sums of extremes fit.
    for len in (0..40).chain([1_028]) {
        let mut rng = Rng::new(len as u64);
        // Random bytes, and extremes only: sums of two products that exceed 16 bits.
        let cases = [
            (lines(len, Box::new(move || rng.below(256) as u8)), {
                let mut rng = Rng::new(100 + len as u64);
                lines(len, Box::new(move || rng.below(256) as u8))
            }),
            (lines(len, Box::new(|| 255)), lines(len, Box::new(|| 0x80))),
            (lines(len, Box::new(|| 255)), lines(len, Box::new(|| 0x7f))),
        ];
        for (code, query) in &cases {
            let pairs = bytes_of(code).iter().zip(bytes_of(query));
            let expected: i64 = pairs.map(|(x, y)| i64::from(*x) * i64::from(y.cast_signed())).sum();
            for (set, kernels) in others() {
                assert_eq!(i64::from((kernels.int8_dot)(code, query)), expected, "{set:?}, {len} lines");
                let zeros = vec![Line::ZERO; len];
                let others: [&[Line]; ROWS] = std::array::from_fn(|i| [code, query, &zeros][i % 5 % 3].as_slice());
                let dots = (kernels.int8_dots)(&others, query);
                let one_by_one = others.map(|code| (kernels.int8_dot)(code, query));
                assert_eq!(dots, one_by_one, "{set:?}, {len} lines of {ROWS}");
            }
        }
    }
}

#[test]
fn twins_transform_alike_and_keep_lengths() {
    for power in 0..12 {
        let mut rng = Rng::new(power);
        let before: Vec<f32> = (0..1 << power).map(|_| rng.normal()).collect();
        let signs: Vec<f32> = before.iter().map(|_| if rng.below(2) == 0 { 1.0 } else { -1.0 }).collect();
        let run = |kernels: &Kernels| {
            let start = power as usize % 5;
            let mut window = vec![0.0; start];
            window.extend(&before);
            (kernels.hadamard)(&mut window[start..], &signs);
            window.split_off(start)
        };
        let expected = run(&scalar::KERNELS);
        for (set, kernels) in others() {
            let found = run(&kernels);
            assert!(found.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()), "{set:?}, 2^{power}");
        }
        // Row `i` of the matrix has the sign of the number of bits shared by `i` and the column.
        let scale = 1.0 / f64::from(1 << power).sqrt();
        for (i, found) in expected.iter().enumerate().step_by(7) {
            let signed = before.iter().zip(&signs).enumerate().map(|(j, (x, sign))| {
                let x = f64::from(x * sign);
                if (i & j).count_ones() % 2 == 0 { x } else { -x }
            });
            assert!((f64::from(*found) - scale * signed.sum::<f64>()).abs() < 1e-4, "2^{power}, number {i}");
        }
    }
}

#[test]
fn twins_make_bytes_of_numbers_alike() {
    for len in 1..=1_100 {
        let mut rng = Rng::new(len as u64);
        let start = len % 5;
        let numbers: Vec<f32> = (0..start + len).map(|_| rng.normal()).collect();
        let numbers = &numbers[start..];
        let most = numbers.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        for (set, kernels) in others() {
            assert_eq!((kernels.largest)(numbers), most, "{set:?}, {len}");
            for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut numbers = numbers.to_vec();
                numbers[len / 2] = odd;
                assert_eq!((kernels.largest)(&numbers), f32::INFINITY, "{set:?}, {len}, {odd}");
            }
        }
        let encode = |kernels: &Kernels| {
            let mut bytes = vec![7; start + len];
            let square = (kernels.to_bytes)(numbers, 127.0 / most, &mut bytes[start..]);
            let fours = &numbers[..len / 4 * 4];
            let mut table = vec![7; start + 4 * fours.len()];
            (kernels.sign_sums)(fours, 31.0 / most, 31.0, &mut table[start..]);
            (bytes, square, table)
        };
        let expected = encode(&scalar::KERNELS);
        others().for_each(|(set, kernels)| assert_eq!(encode(&kernels), expected, "{set:?}, {len}"));
    }
}

#[test]
fn twins_describe_differences_and_links_alike() {
    use estimates::{Column, EstimateInput};
    for len in 1..=1_100 {
        let mut rng = Rng::new(len as u64);
        let mut code = || (0..len + 7).map(|_| 1 + rng.below(255) as u8).collect::<Vec<_>>();
        let (a, b) = (code(), code());
        let (a, b) = (&a[len % 7..][..len], &b[len % 5..][..len]);
        let mut expected_signs = vec![0; len];
        let expected = (scalar::KERNELS.code_difference)((a, 0.3), (b, 0.2), &mut expected_signs);
        for (set, kernels) in others() {
            let mut signs = vec![7; len];
            assert_eq!((kernels.code_difference)((a, 0.3), (b, 0.2), &mut signs), expected, "{set:?}, {len}");
            assert_eq!(signs, expected_signs, "{set:?}, {len}");
        }
        let square: f64 =
            a.iter().zip(b).map(|(a, b)| ((f64::from(*b) - 128.0) * 0.2 - (f64::from(*a) - 128.0) * 0.3).powi(2)).sum();
        assert!((f64::from(expected.square) - square).abs() < 1e-3 * square.max(1.0));
        let mut column = || -> Column { std::array::from_fn(|_| half::bf16::from_f32(rng.normal())) };
        let (added, factors) = (column(), column());
        let sums = std::array::from_fn(|_| rng.below(65_536) as u16);
        for worst in [f32::INFINITY, 0.0, f32::NEG_INFINITY] {
            let input = EstimateInput {
                sums: &sums,
                above: 100.0,
                scale: 0.01,
                added: &added,
                factors: &factors,
                here: 0.7,
                worst,
            };
            let run = |kernels: &Kernels| {
                let mut out = [0.0; 32];
                let less = (kernels.estimates)(input, &mut out);
                (less, out.map(f32::to_bits))
            };
            let expected = run(&scalar::KERNELS);
            others().for_each(|(set, kernels)| assert_eq!(run(&kernels), expected, "{set:?}, {worst}"));
        }
    }
}

#[test]
fn twins_insert_alike() {
    use insert::MARK;
    for len in (0..70_usize).chain([71, 128, 200]) {
        let mut rng = Rng::new(len as u64);
        for _ in 0..100 {
            let mut sorted: Vec<u64> = (0..len).map(|_| (rng.below(40.max(len)) as u64) << 32).collect();
            sorted.sort_unstable();
            sorted.iter_mut().for_each(|entry| *entry |= if rng.below(2) == 0 { MARK } else { 0 });
            let entry = (rng.below(42.max(len)) as u64) << 32;
            let place = sorted.iter().filter(|other| *other & !MARK < entry).count();
            let mut expected = sorted.clone();
            expected.insert(place, entry);
            expected.truncate(len);
            for (set, kernels) in others() {
                let mut found = sorted.clone();
                assert_eq!((kernels.insert)(&mut found, entry), place, "{set:?}, {len} entries");
                assert_eq!(found, expected, "{set:?}, {len} entries");
            }
        }
    }
}
