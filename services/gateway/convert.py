"""Protos to the domain and back."""

from __future__ import annotations

from causeway.gateway.v1 import chat_pb2, chat_service_pb2
from services.gateway.model import (
    Accepted,
    Answer,
    Citation,
    CitationMark,
    Event,
    FinishReason,
    Grounding,
    ModelInfo,
    ModelKind,
    Parameters,
    Question,
    Resumed,
    ResumePoint,
    ResumeReason,
    Role,
    TextDelta,
    Timing,
    Turn,
    Usage,
)

_ROLES = {chat_pb2.TURN_ROLE_USER: Role.USER, chat_pb2.TURN_ROLE_ASSISTANT: Role.ASSISTANT}
_REASONS = {
    FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    FinishReason.NOT_IN_DOCUMENTS: chat_pb2.FINISH_REASON_NOT_IN_DOCUMENTS,
}
_BREAKS = {
    ResumeReason.MODEL_LOST: chat_service_pb2.RESUME_REASON_MODEL_LOST,
    ResumeReason.STREAM_LOST: chat_service_pb2.RESUME_REASON_STREAM_LOST,
}
_KINDS = {
    ModelKind.GENERATOR: chat_pb2.MODEL_KIND_GENERATOR,
    ModelKind.EMBEDDER: chat_pb2.MODEL_KIND_EMBEDDER,
}


def question_of(request: chat_service_pb2.ChatRequest) -> Question:
    """The question that a valid request asks."""
    return Question(
        text=request.text,
        conversation_id=request.conversation_id,
        history=tuple(Turn(_ROLES[turn.role], turn.text) for turn in request.history),
        model=request.model,
        parameters=_parameters_of(request.parameters),
        grounding=_grounding_of(request.grounding),
        request_id=request.request_id,
        resume=_point_of(request.resume) if request.HasField("resume") else None,
    )


def _point_of(point: chat_service_pb2.ResumePoint) -> ResumePoint:
    return ResumePoint(
        token=point.token,
        text=point.text,
        tokens=point.tokens,
        citations=tuple(CitationMark(mark.number, mark.passage, mark.offset) for mark in point.citations),
    )


def _parameters_of(parameters: chat_pb2.GenerationParameters) -> Parameters:
    return Parameters(
        max_tokens=parameters.max_tokens if parameters.HasField("max_tokens") else None,
        temperature=parameters.temperature if parameters.HasField("temperature") else None,
        top_p=parameters.top_p if parameters.HasField("top_p") else None,
        seed=parameters.seed if parameters.HasField("seed") else None,
        stop=tuple(parameters.stop),
    )


def _grounding_of(grounding: chat_pb2.Grounding) -> Grounding:
    return Grounding(
        disabled=grounding.disabled,
        passages=grounding.passages if grounding.HasField("passages") else None,
        document_ids=tuple(grounding.document_ids),
        labels=dict(grounding.labels),
    )


def event_to_proto(event: Event) -> chat_service_pb2.ChatResponse:
    """An event as clients see it."""
    match event:
        case Accepted():
            accepted = chat_service_pb2.Accepted(
                answer_id=event.answer_id,
                model=event.model,
                region=event.region,
                passages=event.passages,
                resume_token=event.resume_token,
            )
            return chat_service_pb2.ChatResponse(accepted=accepted)
        case Resumed():
            resumed = chat_service_pb2.Resumed(
                offset=event.offset, region=event.region, reason=_BREAKS[event.reason]
            )
            return chat_service_pb2.ChatResponse(resumed=resumed)
        case TextDelta():
            delta = chat_pb2.TextDelta(offset=event.offset, text=event.text, tokens=event.tokens)
            return chat_service_pb2.ChatResponse(text_delta=delta)
        case Citation():
            return chat_service_pb2.ChatResponse(citation=citation_to_proto(event))
        case Usage():
            return chat_service_pb2.ChatResponse(usage=_usage_to_proto(event))
        case _:
            finished = chat_service_pb2.Finished(
                reason=_REASONS[event.reason], timing=_timing_to_proto(event.timing)
            )
            return chat_service_pb2.ChatResponse(finished=finished)


def answer_to_proto(answer: Answer) -> chat_service_pb2.CompleteResponse:
    """A whole answer as clients see it."""
    return chat_service_pb2.CompleteResponse(
        answer_id=answer.accepted.answer_id,
        model=answer.accepted.model,
        region=answer.accepted.region,
        text=answer.text,
        citations=[citation_to_proto(citation) for citation in answer.citations],
        usage=_usage_to_proto(answer.usage),
        reason=_REASONS[answer.finished.reason],
        timing=_timing_to_proto(answer.finished.timing),
    )


def citation_to_proto(citation: Citation) -> chat_pb2.Citation:
    """A citation as clients see it: the passage as it stands in the document."""
    return chat_pb2.Citation(
        number=citation.number,
        document_id=citation.passage.document_id,
        title=citation.passage.title,
        text=citation.passage.text,
        score=citation.passage.score,
        offset=citation.offset,
        passage=citation.place,
    )


def model_to_proto(model: ModelInfo) -> chat_pb2.Model:
    """A model as clients see it."""
    return chat_pb2.Model(
        id=model.name,
        kind=_KINDS[model.kind],
        ready=model.ready,
        context_tokens=model.context_tokens,
        dimensions=model.dimensions,
    )


def _usage_to_proto(usage: Usage) -> chat_pb2.Usage:
    return chat_pb2.Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.cached_tokens,
    )


def _timing_to_proto(timing: Timing) -> chat_pb2.Timing:
    return chat_pb2.Timing(
        retrieval_us=_microseconds(timing.retrieval),
        first_text_us=_microseconds(timing.first_text),
        total_us=_microseconds(timing.total),
    )


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
