from marshmallow import fields
from werkzeug.datastructures import FileStorage

class Upload(fields.Field[FileStorage]): ...
