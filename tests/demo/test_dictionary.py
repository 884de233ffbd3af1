"""The dictionary that bodies are packed with fits events that it was not trained on."""

from __future__ import annotations

from importlib.resources import files

import zstandard

from caretrail.demo import hospital

SHIPPED = files("caretrail.storage").joinpath("dictionaries/1.zdict").read_bytes()


def test_unseen_events_become_an_eighth_of_their_size():
    dictionary = zstandard.ZstdCompressionDict(SHIPPED)
    compressor = zstandard.ZstdCompressor(level=3, dict_data=dictionary)
    reader = zstandard.ZstdDecompressor(dict_data=dictionary)
    bodies = list(hospital.events(seed=4711, count=500, end_milliseconds=1_900_000_000_000))
    packed = [compressor.compress(body) for body in bodies]
    assert sum(map(len, bodies)) >= 8 * sum(map(len, packed))
    assert [reader.decompress(one) for one in packed] == bodies


def test_the_dictionary_is_number_one():
    assert zstandard.ZstdCompressionDict(SHIPPED).dict_id() == 1
