"""The composite search parameters of FHIR R4: kind and expression of their components.

Made by scripts/fhir_tables.py from HL7's definitions of FHIR 4.0.1.
"""

from __future__ import annotations

from typing import Final

COMPOSITES: Final[dict[str, tuple[tuple[str, tuple[tuple[str, str], ...]], ...]]] = {
    "ActivityDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "CapabilityStatement": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ChargeItemDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "CodeSystem": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "CompartmentDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ConceptMap": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "DocumentReference": (("relationship", (("reference", "code"), ("token", "target"))),),
    "EffectEvidenceSynthesis": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "EventDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Evidence": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "EvidenceVariable": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ExampleScenario": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "GraphDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Group": (("characteristic-value", (("token", "code"), ("token", "value"))),),
    "ImplementationGuide": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Library": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Measure": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "MessageDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "MolecularSequence": (("chromosome-variant-coordinate", (("token", "%resource.referenceSeq.chromosome"), ("number", "start"), ("number", "end"))), ("chromosome-window-coordinate", (("token", "chromosome"), ("number", "windowStart"), ("number", "windowEnd"))), ("referenceseqid-variant-coordinate", (("token", "%resource.referenceSeq.referenceSeqId"), ("number", "start"), ("number", "end"))), ("referenceseqid-window-coordinate", (("token", "referenceSeqId"), ("number", "windowStart"), ("number", "windowEnd")))),
    "NamingSystem": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Observation": (("code-value-concept", (("token", "code"), ("token", "value.as(CodeableConcept)"))), ("code-value-date", (("token", "code"), ("date", "value.as(dateTime) | value.as(Period)"))), ("code-value-quantity", (("token", "code"), ("quantity", "value.as(Quantity)"))), ("code-value-string", (("token", "code"), ("string", "value.as(string)"))), ("combo-code-value-concept", (("token", "code"), ("token", "value.as(CodeableConcept)"))), ("combo-code-value-quantity", (("token", "code"), ("quantity", "value.as(Quantity)"))), ("component-code-value-concept", (("token", "code"), ("token", "value.as(CodeableConcept)"))), ("component-code-value-quantity", (("token", "code"), ("quantity", "value.as(Quantity)")))),
    "OperationDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "PlanDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "Questionnaire": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ResearchDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ResearchElementDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "RiskEvidenceSynthesis": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "SearchParameter": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "StructureDefinition": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "StructureMap": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "TerminologyCapabilities": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "TestScript": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
    "ValueSet": (("context-type-quantity", (("token", "code"), ("quantity", "value.as(Quantity) | value.as(Range)"))), ("context-type-value", (("token", "code"), ("token", "value.as(CodeableConcept)")))),
}  # fmt: skip
