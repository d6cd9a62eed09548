//! The field with 256 elements that SLIP-39 computes in (the one of AES), and interpolation in it.
//!
//! No table is looked up at a place that depends on a secret and no branch is taken on one: the
//! x coordinates are public (they are printed on the sheets), the y coordinates are not.

use zeroize::Zeroizing;

/// x⁸ + x⁴ + x³ + x + 1 without its highest term.
const REDUCTION: u8 = 0x1b;

/// The product, bit by bit, with masks where a branch would be.
pub(super) fn multiply(a: u8, b: u8) -> u8 {
    let (mut product, mut shifted) = (0_u8, a);
    for bit in 0..8 {
        product ^= shifted & mask(b >> bit & 1);
        shifted = shifted << 1 ^ REDUCTION & mask(shifted >> 7);
    }
    product
}

/// All ones for 1, all zeros for 0.
const fn mask(bit: u8) -> u8 {
    0_u8.wrapping_sub(bit)
}

/// The inverse, as the 254th power; that of 0 is 0.
fn invert(a: u8) -> u8 {
    // 254 = 2 + 4 + 8 + … + 128.
    let (mut power, mut result) = (a, 1);
    for _ in 0..7 {
        power = multiply(power, power);
        result = multiply(result, power);
    }
    result
}

/// The value at `x` of the polynomials, one for each byte, that run through `points`: pairs of an x
/// coordinate and its bytes. The x coordinates differ and the bytes are equally many; the caller
/// has seen to both.
pub(super) fn interpolate(points: &[(u8, &[u8])], x: u8) -> Zeroizing<Vec<u8>> {
    let mut value = Zeroizing::new(vec![0; points.first().map_or(0, |(_, y)| y.len())]);
    for (i, (xi, yi)) in points.iter().enumerate() {
        let (mut above, mut below) = (1, 1);
        for (j, (xj, _)) in points.iter().enumerate() {
            if i != j {
                above = multiply(above, x ^ xj);
                below = multiply(below, xi ^ xj);
            }
        }
        let weight = multiply(above, invert(below));
        for (sum, y) in value.iter_mut().zip(yi.iter()) {
            *sum ^= multiply(weight, *y);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication as the textbook has it: polynomials over bits, divided with remainder.
    fn textbook(a: u8, b: u8) -> u8 {
        let mut product = 0_u32;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= u32::from(a) << bit;
            }
        }
        for bit in (8..16).rev() {
            if product >> bit & 1 == 1 {
                product ^= 0x11b << (bit - 8);
            }
        }
        u8::try_from(product).unwrap()
    }

    #[test]
    fn every_product_is_the_textbooks_and_every_element_has_its_inverse() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(multiply(a, b), textbook(a, b), "{a} times {b}");
            }
            assert_eq!(multiply(a, invert(a)), u8::from(a != 0), "{a}");
        }
        // FIPS 197, section 4.2.
        assert_eq!(multiply(0x57, 0x83), 0xc1);
        assert_eq!(multiply(0x57, 0x13), 0xfe);
    }

    #[test]
    fn any_points_of_a_polynomial_lead_to_all_others() {
        // 7 + 3x + 200x², evaluated by hand.
        let at = |x: u8| [7 ^ multiply(3, x) ^ multiply(200, multiply(x, x))];
        let points: Vec<(u8, [u8; 1])> = [0, 4, 9].into_iter().map(|x| (x, at(x))).collect();
        let borrowed: Vec<(u8, &[u8])> = points.iter().map(|(x, y)| (*x, y.as_slice())).collect();
        for x in 0..=255 {
            assert_eq!(interpolate(&borrowed, x).as_slice(), at(x));
        }
    }
}
