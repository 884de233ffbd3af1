"""One FHIR, IHE or log interaction a module, over one small Request and Response."""
