//! The metadata of committed offsets: bytes, whatever the binding makes of them.
//!
//! Kafka calls the metadata a string, and a client in C can commit any bytes. The binding panics at
//! one that is not UTF-8.

#![allow(unsafe_code)]

use rdkafka::TopicPartitionList;

/// The metadata of the element at `index` of `list`; `None` where there is none, or no such element.
pub fn metadata(list: &TopicPartitionList, index: usize) -> Option<&[u8]> {
    if index >= list.count() {
        return None;
    }
    // SAFETY: the pointer is the list's own, and has as many elements as it says. Metadata lives as
    // long as its element, which nobody changes while the list is borrowed.
    unsafe {
        let element = (*list.ptr()).elems.add(index);
        let (bytes, size) = ((*element).metadata, (*element).metadata_size);
        (!bytes.is_null() && size > 0).then(|| std::slice::from_raw_parts(bytes.cast::<u8>(), size))
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;

    use super::*;

    #[test]
    fn metadata_is_what_stands_there() {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("t", 0, Offset::Offset(1)).unwrap();
        list.add_partition_offset("t", 1, Offset::Offset(1)).unwrap();
        list.find_partition("t", 1).unwrap().set_metadata("1:AQE");
        assert_eq!(metadata(&list, 0), None);
        assert_eq!(metadata(&list, 1), Some(b"1:AQE".as_slice()));
        assert_eq!(metadata(&list, 2), None);
    }
}
