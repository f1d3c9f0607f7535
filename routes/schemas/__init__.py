"""marshmallow schemas, one file a blueprint: the only place where wire names live."""
