//! `cidr_contains(address, network)`: whether an address lies in a network.

use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion::common::{ScalarValue, exec_datafusion_err, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// The function. Null if an argument is null or the address is none; an error if the network is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct CidrContains {
    signature: Signature,
}

impl Default for CidrContains {
    fn default() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

impl ScalarUDFImpl for CidrContains {
    fn name(&self) -> &'static str {
        "cidr_contains"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match kinds.iter().find(|kind| !is_text(kind)) {
            Some(kind) => plan_err!("cidr_contains takes an address and a network as text, not {kind}"),
            None => Ok(DataType::Boolean),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [addresses, networks] = args.args.as_slice() else {
            return exec_err!("cidr_contains takes two arguments");
        };
        match networks {
            ColumnarValue::Scalar(network) => {
                let Some(Some(text)) = network.try_as_str() else { return nulls(args.number_rows) };
                let network = Network::parse(text)?;
                match addresses {
                    ColumnarValue::Scalar(address) => {
                        let found = address.try_as_str().flatten().and_then(|address| network.contains(address));
                        Ok(ColumnarValue::Scalar(ScalarValue::Boolean(found)))
                    }
                    ColumnarValue::Array(addresses) => Ok(ColumnarValue::Array(contains(&network, addresses)?)),
                }
            }
            ColumnarValue::Array(networks) => {
                let addresses = addresses.clone().into_array(args.number_rows)?;
                pairwise(&addresses, networks).map(ColumnarValue::Array)
            }
        }
    }
}

fn nulls(rows: usize) -> Result<ColumnarValue> {
    Ok(ColumnarValue::Array(new_null_array(&DataType::Boolean, rows)))
}

/// One network: a dictionary is looked at once per value, not once per row.
fn contains(network: &Network, addresses: &ArrayRef) -> Result<ArrayRef> {
    if let Some(dictionary) = addresses.as_any_dictionary_opt() {
        let of_values = contains(network, dictionary.values())?;
        return Ok(take(&of_values, dictionary.keys(), None)?);
    }
    let texts = cast(addresses, &DataType::Utf8View)?;
    let mut last: Option<(&str, Option<bool>)> = None;
    let found = texts.as_string_view().iter().map(|text| {
        let text = text?;
        // Sorted and repeating columns are common: the same address again has the same answer.
        match last {
            Some((known, answer)) if known == text => answer,
            _ => {
                let answer = network.contains(text);
                last = Some((text, answer));
                answer
            }
        }
    });
    Ok(Arc::new(found.collect::<BooleanArray>()))
}

fn pairwise(addresses: &ArrayRef, networks: &ArrayRef) -> Result<ArrayRef> {
    let (addresses, networks) = (cast(addresses, &DataType::Utf8View)?, cast(networks, &DataType::Utf8View)?);
    let pairs = addresses.as_string_view().iter().zip(networks.as_string_view().iter());
    let found = pairs.map(|pair| match pair {
        (Some(address), Some(network)) => Network::parse(network).map(|network| network.contains(address)),
        _ => Ok(None),
    });
    Ok(Arc::new(found.collect::<Result<BooleanArray>>()?))
}

/// A network: the addresses of one family whose first bits are the same. A v4 address written as v6 is v4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    is_v6: bool,
    first: u128,
    mask: u128,
}

fn bits_of(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(u32::from(address))),
        IpAddr::V6(address) => address.to_ipv4_mapped().map_or((true, u128::from(address)), |v4| bits_of(v4.into())),
    }
}

fn mask(width: u32, length: u32) -> u128 {
    let host_bits = width - length;
    let all = if width == 128 { u128::MAX } else { (1 << width) - 1 };
    if host_bits >= 128 { 0 } else { all & (u128::MAX << host_bits) }
}

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, or an address alone.
    fn parse(text: &str) -> Result<Self> {
        let wrong = || exec_datafusion_err!("'{text}' is no network: write it as in 10.0.0.0/8 or 2001:db8::/32");
        let (address, length) = text.trim().split_once('/').map_or((text.trim(), None), |(a, l)| (a, Some(l)));
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let written_width = if address.is_ipv4() { 32 } else { 128 };
        let length: u32 = length.map_or(Ok(written_width), str::parse).map_err(|_| wrong())?;
        if length > written_width {
            return Err(wrong());
        }
        let (is_v6, first) = match address {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && length < 96 => (true, u128::from(v6)),
            address => bits_of(address),
        };
        let width = if is_v6 { 128 } else { 32 };
        let mask = mask(width, length - (written_width - width));
        Ok(Self { is_v6, first: first & mask, mask })
    }

    /// None if the text is no address.
    fn contains(&self, address: &str) -> Option<bool> {
        let (is_v6, bits) = bits_of(address.parse().ok()?);
        Some(self.is_v6 == is_v6 && bits & self.mask == self.first)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, DictionaryArray, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn addresses_lie_in_networks() {
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", Some(true)),
            ("10.0.0.0/8", "11.0.0.1", Some(false)),
            ("10.1.2.3/8", "10.9.9.9", Some(true)),
            ("0.0.0.0/0", "203.0.113.9", Some(true)),
            ("0.0.0.0/0", "2001:db8::1", Some(false)),
            ("192.0.2.7", "192.0.2.7", Some(true)),
            ("192.0.2.7", "192.0.2.8", Some(false)),
            ("2001:db8::/32", "2001:db8:1::1", Some(true)),
            ("2001:db8::/32", "2001:db9::1", Some(false)),
            ("2001:db8::/32", "32.1.13.184", Some(false)),
            ("::ffff:10.0.0.0/104", "10.1.1.1", Some(true)),
            ("::/0", "10.1.1.1", Some(false)),
            ("::/0", "2001:db8::1", Some(true)),
            ("10.0.0.0/8", "::ffff:10.0.0.1", Some(true)),
            ("10.0.0.0/8", "no address", None),
        ] {
            assert_eq!(Network::parse(network).unwrap().contains(address), expected, "{address} in {network}");
        }
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "x/8", "2001:db8::/129", "10.0.0.0/-1"] {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_kind_of_text_gives_the_same_answer() {
        let texts = [Some("10.0.0.1"), None, Some("192.0.2.1"), Some("10.0.0.1"), Some("x")];
        let plain: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let view = cast(&plain, &DataType::Utf8View).unwrap();
        let dictionary: ArrayRef = Arc::new(texts.into_iter().collect::<DictionaryArray<Int32Type>>());
        let network = Network::parse("10.0.0.0/8").unwrap();
        let expected = BooleanArray::from(vec![Some(true), None, Some(false), Some(true), None]);
        for array in [plain, view, dictionary] {
            assert_eq!(contains(&network, &array).unwrap().as_boolean(), &expected, "{}", array.data_type());
        }
    }
}
