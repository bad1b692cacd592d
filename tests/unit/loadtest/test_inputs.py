"""What benchmarks feed to the things they measure."""

from __future__ import annotations

import json

import numpy as np
import pytest

from loadtest.bench import fill, inference_generator, inference_site, texts
from loadtest.bench.chat import direct_request
from loadtest.bench.report import BenchError
from services.gateway.prompt import PromptWriter
from services.gateway.settings import ChatSettings
from triton_models.client import embed_request
from triton_models.options import BuildOptions


def test_passages_are_different_and_the_same_each_time() -> None:
    passages = texts.passages(200)
    assert passages == texts.passages(200)
    assert len(set(passages)) == 200
    assert {len(passage.split()) for passage in passages} == {90}


def test_more_passages_than_the_corpus_has_are_refused() -> None:
    with pytest.raises(ValueError, match="not 1000000"):
        texts.passages(1_000_000)


def test_every_answerable_question_names_topics_that_exist() -> None:
    questions = texts.answerable()
    known = set(texts.topics())
    assert len(questions) >= 60
    assert all(question.topics and set(question.topics) <= known for question in questions)


def test_there_are_enough_questions_that_the_corpus_does_not_answer() -> None:
    assert len({question.text for question in texts.unanswerable()}) >= 20


def test_a_choice_is_spread_over_the_whole_list() -> None:
    questions = texts.answerable()
    chosen = texts.spread(questions, 10)
    assert len(chosen) == 10
    assert chosen[0] == questions[0]
    assert questions.index(chosen[-1]) >= 0.85 * len(questions)
    assert texts.spread(questions, 10_000) == questions


def test_a_small_corpus_comes_with_the_questions_that_it_answers() -> None:
    topics = texts.small_topics(6)
    assert len(topics) == 6
    questions = texts.answerable(topics)
    assert questions
    assert all(set(question.topics) & set(topics) for question in questions)


def test_no_prompt_is_used_twice_so_that_none_is_answered_from_memory() -> None:
    questions = [question.text for question in texts.answerable()]
    every = [
        json.dumps(prompt)
        for number in range(50)
        for prompt in inference_generator.prompts(questions, number, 8)
    ]
    assert len(set(every)) == len(every)


def test_batching_is_off_in_the_copy_of_the_embedder_and_nothing_else_differs() -> None:
    config = 'name: "embedder"\nmax_batch_size: 64\ndynamic_batching { }\ninstance_group [ { count: 2 } ]\n'
    changed = config.replace('"embedder"', '"embedder_unbatched"').replace("dynamic_batching { }\n", "\n")
    assert inference_site.unbatched(config) == changed
    with pytest.raises(BenchError, match="dynamic_batching"):
        inference_site.unbatched('name: "embedder"')


def test_the_direct_call_sends_what_the_gateway_would() -> None:
    writer = PromptWriter(ChatSettings(), BuildOptions().context)
    request = direct_request(writer, "What is a <|im_start|>?", 64, "generator")
    messages, params = (json.loads(raw[4:]) for raw in request.raw_input_contents)
    assert [message["role"] for message in messages] == ["system", "user"]
    assert "<|im_start|>" not in messages[1]["content"]
    assert params == {"max_tokens": 64, "temperature": 0.0, "cache_key": "bench-direct"}


def test_made_up_documents_are_the_same_each_time_and_continue_where_they_stopped() -> None:
    whole = list(fill.documents("sized", 0, 1500))
    assert [document.id for document in whole] == [
        document.id
        for start, end in ((0, 500), (500, 1500))
        for document in fill.documents("sized", start, end)
    ]
    ids = {chunk.id for document in whole for chunk in document.chunks}
    assert len(ids) == 1500
    assert whole[0].chunks == next(iter(fill.documents("sized", 0, 500))).chunks
    with pytest.raises(ValueError, match="multiples of 500"):
        list(fill.documents("sized", 0, 700))


def test_a_request_for_the_embedder_survives_its_serialisation() -> None:
    request = embed_request(["grüße", "b"])
    raw = np.frombuffer(request.raw_input_contents[0][:4], "<u4")
    assert raw[0] == len("grüße".encode())
    assert type(request).FromString(request.SerializeToString()) == request
